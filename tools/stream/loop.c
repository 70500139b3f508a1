// SPDX-License-Identifier: Apache-2.0
// What the machine can do at best: absolute deadlines and nothing else. Arguments: seconds, file.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static const int64_t period = 20000000;

static int64_t nanoseconds(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  const long count = (long)(atof(argv[1]) * 1e9 / period);
  FILE *file = fopen(argv[2], "w");
  if (!file) return 1;
  struct timespec now;
  prctl(PR_SET_TIMERSLACK, 1);
  clock_gettime(CLOCK_MONOTONIC, &now);
  int64_t next = nanoseconds(now);
  for (long k = 0; k < count; k++) {
    next += period;
    struct timespec wake = {next / 1000000000, next % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
    clock_gettime(CLOCK_MONOTONIC, &now);
    fprintf(file, "%lld\n", (long long)nanoseconds(now));
  }
  return fclose(file);
}
