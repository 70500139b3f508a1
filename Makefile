# `make setup` needs Python 3.11 or newer, gcc, g++ and cmake; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup setup-kinetix test-kinetix setup-lerobot test-lerobot setup-gym test-gym setup-peers test-peers check-gpu demo test check format docs bench clean

setup:   ## make .venv and build the package; ROS_DISTRO=kilted for Kilted instead of Jazzy
	@$(PYTHON) requirements/bootstrap.py

demo: setup   ## a simulated ViperX does a task; a table says how well
	@$(BIN)/async-chunking demo

test: setup   ## all tests
	@$(BIN)/python -m pytest

setup-kinetix: .venv-kinetix/setup.stamp   ## make .venv-kinetix, since JAX and its friends clash with .venv

.venv-kinetix/setup.stamp: requirements/kinetix.txt setup.py setup.cfg
	@$(PYTHON) -m venv .venv-kinetix
	@.venv-kinetix/bin/python -m pip install --quiet --requirement requirements/kinetix.txt
	@.venv-kinetix/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

test-kinetix: setup-kinetix   ## tests of the Kinetix benchmark; ASYNC_CHUNKING_KINETIX_LEVELS names the level files
	@.venv-kinetix/bin/python -m pytest test/test_kinetix.py

setup-lerobot: setup .venv-lerobot/setup.stamp   ## make .venv-lerobot, a layer on .venv with what policy:=lerobot needs

.venv-lerobot/setup.stamp: requirements/lerobot.txt requirements/layer.py requirements/lerobot.py
	@$(BIN)/python -m venv --clear .venv-lerobot
	@.venv-lerobot/bin/python requirements/layer.py lerobot --ignore-requires-python
	@.venv-lerobot/bin/python requirements/lerobot.py
	@touch $@

test-lerobot: setup-lerobot   ## tests of policy:=lerobot
	@.venv-lerobot/bin/python -m pytest test/test_lerobot*.py

setup-gym: setup .venv-gym/setup.stamp   ## make .venv-gym, a layer on .venv with MetaWorld, gym-aloha and Push-T

.venv-gym/setup.stamp: requirements/gym.txt requirements/layer.py
	@$(BIN)/python -m venv --clear .venv-gym
	@.venv-gym/bin/python requirements/layer.py gym
	@touch $@

test-gym: setup-gym   ## tests of the environments of others
	@.venv-gym/bin/python -m pytest test/test_environments.py

setup-peers: setup-lerobot setup-gym .venv-peers/setup.stamp   ## make .venv-peers, a layer on both with the schedulers of others

.venv-peers/setup.stamp: requirements/peers.txt requirements/layer.py
	@$(BIN)/python -m venv --clear .venv-peers
	@.venv-peers/bin/python requirements/layer.py peers --on=lerobot --on=gym
	@touch $@

test-peers: setup-peers   ## tests of the schedulers of others
	@.venv-peers/bin/python -m pytest test/test_peers.py test/test_environments.py

check-gpu:   ## every CUDA path, in a few minutes; PYTHON names one with torch for CUDA
	@$(PYTHON) -m tools gpu

check: setup   ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright

format: setup   ## put the code into the project's style
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

docs: setup   ## write anew what the code says of itself in README and docs
	@$(BIN)/python -m tools docs

bench: setup   ## the tables of the README
	@$(BIN)/async-chunking bench

clean:   ## remove everything that was made
	rm -rf .venv build install log *.egg-info .pytest_cache .ruff_cache .hypothesis
