/* Lets the calls named in FAULT_RULE fail with EIO: "<call> <part of the path>". The rule holds as long as the file is
 * there. Every sync and write of such a path from the first failure on is noted in FAULT_LOG. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int failed;

static int fails(const char *call, int fd) {
    const char *rule = getenv("FAULT_RULE"), *log = getenv("FAULT_LOG");
    char text[256] = {0}, link[64], path[4096] = {0}, wanted[64], part[128], line[4200];
    if (!rule || !log) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, rule, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    long count = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (count <= 0 || sscanf(text, "%63s %127s", wanted, part) != 2) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) <= 0 || !strstr(path, part)) return 0;
    int fault = !strcmp(call, wanted);
    if (fault || atomic_load(&failed)) {
        int out = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        int length = snprintf(line, sizeof line, "%s %s\n", fault ? "failed" : "went", call);
        syscall(SYS_write, out, line, length);
        syscall(SYS_close, out);
    }
    /* Once only: as with a real device, the next sync may well succeed. */
    return fault && !atomic_exchange(&failed, 1);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(call, fd) do { if (fails(call, fd)) { errno = EIO; return -1; } } while (0)

int fsync(int fd) { FAIL("fsync", fd); return REAL(fsync)(fd); }
int fdatasync(int fd) { FAIL("fdatasync", fd); return REAL(fdatasync)(fd); }
ssize_t write(int fd, const void *data, size_t count) { FAIL("write", fd); return REAL(write)(fd, data, count); }
ssize_t writev(int fd, const struct iovec *data, int count) { FAIL("write", fd); return REAL(writev)(fd, data, count); }
ssize_t pwrite(int fd, const void *data, size_t count, off_t at) { FAIL("pwrite", fd); return REAL(pwrite)(fd, data, count, at); }
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) { FAIL("pwrite", fd); return REAL(pwrite64)(fd, data, count, at); }
