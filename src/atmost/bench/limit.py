"""The limit: a sender and a receiver in C that do nothing but copy messages into datagrams and count them, compiled here when a compiler is there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

from atmost.bench.systems import TurnFailed

_PROGRAM: Final = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }

static void pin(int core) {
#ifdef __linux__
  cpu_set_t set; CPU_ZERO(&set); CPU_SET(core, &set);
  if (sysconf(_SC_NPROCESSORS_ONLN) > 1) (void)sched_setaffinity(0, sizeof set, &set);
#else
  (void)core;
#endif
}

int main(int argc, char **argv) {
  int size = argc > 1 ? atoi(argv[1]) : 1432, message = 142, fits = (size - 67) / message, buffer = 4 << 20;
  double seconds = argc > 2 ? atof(argv[2]) : 1.0;
  int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0), pipes[2];
  struct sockaddr_in place = {0};
  socklen_t length = sizeof place;
  place.sin_family = AF_INET; place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
#ifdef SO_RCVBUFFORCE
  if (setsockopt(in, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer))
#endif
    setsockopt(in, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  if (bind(in, (struct sockaddr *)&place, sizeof place) || getsockname(in, (struct sockaddr *)&place, &length)) return 1;
  if (connect(out, (struct sockaddr *)&place, length) || pipe(pipes)) return 1;
  pid_t child = fork();
  if (!child) {
    static char taken[65536]; long long messages = 0;
    struct timeval patience = {1, 0};
    setsockopt(in, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    pin(1);
    for (ssize_t got; (got = recv(in, taken, sizeof taken, 0)) > 0;) messages += (got - 67) / message;
    if (write(pipes[1], &messages, sizeof messages) < 0) return 1;
    return 0;
  }
  static char open_datagram[65536], payload[256]; long long sent = 0, arrived = 0;
  pin(0);
  double began = now(), elapsed;
  do {
    for (int turn = 0; turn < 100; turn++) {
      char *end = open_datagram + 67;
      for (int number = 0; number < fits; number++, end += message) memcpy(end, payload, message);
      if (send(out, open_datagram, end - open_datagram, 0) > 0) sent += fits;
    }
    elapsed = now() - began;
  } while (elapsed < seconds);
  if (read(pipes[0], &arrived, sizeof arrived) != sizeof arrived) return 1;
  waitpid(child, NULL, 0);
  printf("%lld %lld %f\n", sent, arrived, elapsed);
  return 0;
}
"""
_PATIENCE: Final = 60.0
_COMPILERS: Final = ("cc", "gcc", "clang")


def build(folder: Path) -> Path:
    """Compiles the program into a folder."""
    command = shlex.split(os.environ.get("CC") or "") or [each for each in _COMPILERS if shutil.which(each)][:1]
    if not command:
        raise TurnFailed("no C compiler is installed")
    source, program = folder / "limit.c", folder / "limit"
    source.write_text(_PROGRAM, encoding="ascii")
    try:
        done = subprocess.run([*command, "-O2", "-o", program, source], capture_output=True, text=True, check=False)
    except OSError as error:
        raise TurnFailed(f"the compiler cannot be run: {error}") from None
    if done.returncode:
        raise TurnFailed(f"the compiler failed: {done.stderr.strip().splitlines()[-1:]}")
    return program


def limit(program: Path, size: int, seconds: float) -> dict[str, float]:
    """One measurement with datagrams of `size` bytes, figures as in `turns.throughput`."""
    try:
        done = subprocess.run(
            [program, str(size), str(seconds)], capture_output=True, text=True, check=False, timeout=seconds + _PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise TurnFailed("no answer") from None
    try:
        sent, arrived, elapsed = (float(one) for one in done.stdout.split())
    except ValueError:
        raise TurnFailed(f"it ended with {done.returncode}") from None
    return {"delivered": arrived / elapsed, "share": arrived / sent, "flat_ns": elapsed / sent * 1e9}
