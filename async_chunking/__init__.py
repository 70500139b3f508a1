# SPDX-License-Identifier: Apache-2.0
"""Drive a robot at a steady rate from a slow policy that answers in chunks of actions.

A chunked policy needs 50 to 300 ms for one answer; a robot wants a command every 20 ms. This
package keeps the command stream going: it asks for the next chunk while the last one is played,
joins the two without a jump, and measures how well that went. `chunk` holds the vocabulary,
`executor` decides what is commanded now, `strategies` names the methods from the literature, and
`nodes` (the one folder that needs ROS 2) puts them on a robot.
"""

from pkgutil import extend_path

# Messages are generated into the colcon install folder; this finds them as async_chunking.msg.
__path__ = extend_path(__path__, __name__)


def __getattr__(name: str) -> str:
    """Return `__version__`: what package.xml says, beside the sources or in the prefix."""
    if name != '__version__':
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    import re
    from importlib.metadata import version
    from pathlib import Path

    here = Path(__file__).resolve()
    # Of colcon's prefix: PREFIX/lib/pythonX.Y/site-packages/async_chunking/__init__.py.
    for folder in (here.parents[1], *(up / 'share' / __name__ for up in here.parents[4:5])):
        manifest = folder / 'package.xml'
        if manifest.is_file():
            match = re.search(
                r'<name>(.+?)</name>\s*<version>(.+?)</version>', manifest.read_text()
            )
            if match and match[1] == __name__:
                return match[2]
    return version(__name__)
