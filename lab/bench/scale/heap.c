/*
 * Counts the bytes that are allocated, each with the size that malloc has to remember with it, in the file HEAP_FILE,
 * where others can read it at any time. Loaded before the C library; for a program with one thread.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

static int64_t early;
static int64_t *live = &early;

__attribute__((constructor)) static void share(void)
{
    const char *name = getenv("HEAP_FILE");
    int fd = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

    if (fd == -1) {
        return;
    }

    if (ftruncate(fd, sizeof(early)) == 0) {
        void *p = mmap(NULL, sizeof(early), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p != MAP_FAILED) {
            live = p;
            *live = early;
        }
    }

    close(fd);
}

static int64_t size(void *p)
{
    return p ? (int64_t) (malloc_usable_size(p) + sizeof(size_t)) : 0;
}

static void *allocated(void *p)
{
    *live += size(p);
    return p;
}

void *malloc(size_t n) { return allocated(__libc_malloc(n)); }
void *calloc(size_t n, size_t each) { return allocated(__libc_calloc(n, each)); }
void *memalign(size_t alignment, size_t n) { return allocated(__libc_memalign(alignment, n)); }
void *aligned_alloc(size_t alignment, size_t n) { return memalign(alignment, n); }

int posix_memalign(void **p, size_t alignment, size_t n)
{
    void *memory = memalign(alignment, n);

    if (memory == NULL) {
        return ENOMEM;
    }

    *p = memory;
    return 0;
}

void *realloc(void *p, size_t n)
{
    int64_t before = size(p);
    void *moved = __libc_realloc(p, n);

    /* with no memory, the old one stays; with no size, it goes */
    if (moved != NULL || n == 0) {
        *live += size(moved) - before;
    }

    return moved;
}

void free(void *p)
{
    *live -= size(p);
    __libc_free(p);
}
