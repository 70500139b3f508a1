/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded into a process, sets its wall clock: it is off by the seconds that the file named by
 * ASYNC_CHUNKING_WALL_OFFSET holds, an int64_t that may change at any time. Steady clocks, and
 * waits on them, are left alone, as they are when somebody sets the clock of a machine.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t nothing;
static const volatile int64_t *offset = &nothing;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("ASYNC_CHUNKING_WALL_OFFSET");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *shared = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
  if (shared != MAP_FAILED) offset = shared;
  close(file);
}

static void *next(const char *name) {
  void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2"); /* The newer pthread_cond_* on x86-64. */
  return found ? found : dlsym(RTLD_NEXT, name);
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))next(#name)

static int wall(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

/* A deadline on the machine's clock. Who waits on a steady clock counts from its start, so the
 * number of seconds tells which clock is meant. */
static struct timespec due(const struct timespec *deadline) {
  struct timespec moved = *deadline;
  if (moved.tv_sec > 1000000000) moved.tv_sec -= *offset;
  return moved;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  REAL(clock_gettime);
  int status = real(clock, now);
  if (status == 0 && wall(clock)) now->tv_sec += *offset;
  return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec fine;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &fine);
  now->tv_sec = fine.tv_sec;
  now->tv_usec = fine.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *now) {
  struct timespec fine;
  clock_gettime(CLOCK_REALTIME, &fine);
  if (now) *now = fine.tv_sec;
  return fine.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *deadline) {
  REAL(pthread_cond_timedwait);
  struct timespec moved = due(deadline);
  return real(condition, mutex, &moved);
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *deadline) {
  REAL(pthread_cond_clockwait);
  struct timespec moved = due(deadline);
  return real(condition, mutex, clock, &moved);
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *deadline) {
  REAL(pthread_mutex_timedlock);
  struct timespec moved = due(deadline);
  return real(mutex, &moved);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *deadline) {
  REAL(sem_timedwait);
  struct timespec moved = due(deadline);
  return real(semaphore, &moved);
}
