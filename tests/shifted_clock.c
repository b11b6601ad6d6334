/* Shifts the wall clock of the process that this is preloaded into (LD_PRELOAD), by the nanoseconds in the file
 * WALL_CLOCK_SHIFT, an int64 that may change at any time. Other clocks stay. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const int64_t *shift;

__attribute__((constructor)) static void map_shift(void) {
    const char *path = getenv("WALL_CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) abort();
    shift = mapped;
    close(file);
}

/* The system call, not libc's function: that one is this one. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    if (syscall(SYS_clock_gettime, clock, now) != 0) return -1;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        int64_t shifted = now->tv_sec * SECOND + now->tv_nsec + (shift ? __atomic_load_n(shift, __ATOMIC_RELAXED) : 0);
        now->tv_sec = shifted / SECOND;
        now->tv_nsec = shifted % SECOND;
    }
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec shifted;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &shifted) != 0) return -1;
    now->tv_sec = shifted.tv_sec;
    now->tv_usec = shifted.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec shifted;
    clock_gettime(CLOCK_REALTIME, &shifted);
    if (seconds) *seconds = shifted.tv_sec;
    return shifted.tv_sec;
}
