/* Faults at chosen system calls: a library that is preloaded and wraps libc's calls on files.
 *
 * A plan in a file that the campaign maps too says which call on which files is to fail, and how.
 * Processes that open the plan share its counters, so the n-th call is that of all of them. Until
 * a plan is opened every call passes through untouched. A signal goes to the command, also where a
 * worker makes the call.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN, CREATE, READ, WRITE, FSYNC, RENAME, UNLINK, MKDIR, LIST, LINK, CALLS };
enum { BEFORE, IN, AFTER };
enum { KINDS = 9, LENGTH = 128 };

struct plan {
    char patterns[KINDS][LENGTH]; /* what the paths of each kind of file look like */
    int counts[KINDS][CALLS];     /* calls so far */
    int pid;                      /* of the command; 0 until it has opened the plan */
    int armed;
    int kind, call, nth, when;
    int number; /* an errno, or a signal if `signals` */
    int signals;
    int group; /* whether the signal goes to the command's group, and not to it alone */
    int lasts; /* whether calls after the n-th fail too, as on a full disk */
    int fired;
};

static struct plan *plan;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void campaign_open(const char *path) {
    int handle = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (handle < 0) return;
    void *found = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    close(handle);
    if (found == MAP_FAILED) return;
    plan = found;
    int nobody = 0;
    __atomic_compare_exchange_n(&plan->pid, &nobody, getpid(), 0, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CAMPAIGN_PLAN");
    if (path) campaign_open(path);
}

static void strike(void) {
    __atomic_store_n(&plan->fired, 1, __ATOMIC_SEQ_CST);
    if (plan->signals) kill(plan->group ? -plan->pid : plan->pid, plan->number);
}

/* Count a call; return whether it is to fail: 0, or 1 + when. */
static int struck(int call, const char *path) {
    if (!plan || !path) return 0;
    int result = 0;
    for (int kind = 0; kind < KINDS && plan->patterns[kind][0]; kind++) {
        if (fnmatch(plan->patterns[kind], path, 0)) continue;
        int count = __atomic_add_fetch(&plan->counts[kind][call], 1, __ATOMIC_SEQ_CST);
        if (!plan->armed || kind != plan->kind || call != plan->call) continue;
        if (count == plan->nth || (plan->lasts && count > plan->nth)) result = 1 + plan->when;
    }
    return result;
}

static const char *path_of(int handle, char *buffer) {
    char link[64];
    if (!plan || handle < 3) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t size = readlink(link, buffer, 4095);
    if (size <= 0) return NULL;
    buffer[size] = 0;
    return buffer[0] == '/' ? buffer : NULL;
}

/* A call fails before it is made, or the process gets its signal before or after it. */
#define AROUND(type, call, path, made)              \
    int fault = struck(call, path);                 \
    if (fault && !plan->signals) {                  \
        if (fault == 1 + AFTER) (void)(made);       \
        strike();                                   \
        errno = plan->number;                       \
        return (type)-1;                            \
    }                                               \
    if (fault && fault != 1 + AFTER) strike();      \
    type done = (made);                             \
    if (fault == 1 + AFTER) {                       \
        int kept = errno;                           \
        strike();                                   \
        errno = kept;                               \
    }                                               \
    return done

static int opening(int flags) { return flags & O_CREAT ? CREATE : OPEN; }

#define OPENING(name, parameters, ...)                                   \
    int name parameters {                                                \
        mode_t mode = 0;                                                 \
        if (flags & (O_CREAT | O_TMPFILE)) {                             \
            va_list rest;                                                \
            va_start(rest, flags);                                       \
            mode = va_arg(rest, mode_t);                                 \
            va_end(rest);                                                \
        }                                                                \
        AROUND(int, opening(flags), path, REAL(name)(__VA_ARGS__, mode)); \
    }
OPENING(open, (const char *path, int flags, ...), path, flags)
OPENING(open64, (const char *path, int flags, ...), path, flags)
OPENING(openat, (int folder, const char *path, int flags, ...), folder, path, flags)
OPENING(openat64, (int folder, const char *path, int flags, ...), folder, path, flags)

ssize_t read(int handle, void *content, size_t size) {
    char buffer[4096];
    AROUND(ssize_t, READ, path_of(handle, buffer), REAL(read)(handle, content, size));
}

ssize_t write(int handle, const void *content, size_t size) {
    char buffer[4096];
    int fault = struck(WRITE, path_of(handle, buffer));
    if (fault == 1 + IN) REAL(write)(handle, content, size / 2);
    if (fault && !plan->signals) {
        strike();
        errno = plan->number;
        return -1;
    }
    if (fault && fault != 1 + AFTER) strike();
    ssize_t done = REAL(write)(handle, content, size);
    if (fault == 1 + AFTER) strike();
    return done;
}

int fsync(int handle) {
    char buffer[4096];
    AROUND(int, FSYNC, path_of(handle, buffer), REAL(fsync)(handle));
}

int rename(const char *from, const char *path) {
    AROUND(int, RENAME, path, REAL(rename)(from, path));
}

int unlink(const char *path) { AROUND(int, UNLINK, path, REAL(unlink)(path)); }

int link(const char *from, const char *path) { AROUND(int, LINK, path, REAL(link)(from, path)); }

int mkdir(const char *path, mode_t mode) { AROUND(int, MKDIR, path, REAL(mkdir)(path, mode)); }

DIR *opendir(const char *path) {
    if (struck(LIST, path)) {
        strike();
        if (!plan->signals) {
            errno = plan->number;
            return NULL;
        }
    }
    return REAL(opendir)(path);
}
