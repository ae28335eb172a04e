/* The two clocks, as Python reads them. */
#ifndef ATMOST_CLOCKS_H
#define ATMOST_CLOCKS_H

#include <stdint.h>
#include <time.h>

static inline double
monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec) / 1e9; /* as time.monotonic() computes it */
}

static inline uint64_t
wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

#endif
