#include "hf_thread.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct start {
    void (*body)(void *);
    void *context;
    char name[16];
};

static void *run(void *argument) {
    struct start start = *(struct start *)argument;
    free(argument);
    pthread_setname_np(pthread_self(), start.name);
    start.body(start.context);
    return NULL;
}

long hf_thread_start(uintptr_t *handle, size_t stack, const char *name, void (*body)(void *), void *context) {
    struct start *start = malloc(sizeof *start);
    if (start == NULL) return -ENOMEM;
    start->body = body;
    start->context = context;
    strncpy(start->name, name, sizeof start->name - 1);
    start->name[sizeof start->name - 1] = 0;

    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        free(start);
        return -(long)error;
    }
    error = pthread_attr_setstacksize(&attributes, stack);
    sigset_t all, before;
    sigfillset(&all);
    // Faults of the thread itself must still reach it.
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGABRT);
    sigdelset(&all, SIGTRAP);
    pthread_t thread;
    if (error == 0) {
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&thread, &attributes, run, start);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    if (error != 0) {
        free(start);
        return -(long)error;
    }
    *handle = (uintptr_t)thread;
    return 0;
}

long hf_thread_join(uintptr_t handle) { return -(long)pthread_join((pthread_t)handle, NULL); }
void hf_thread_detach(uintptr_t handle) { pthread_detach((pthread_t)handle); }

struct hf_gate {
    pthread_mutex_t mutex;
    pthread_cond_t conditions[2];
};

struct hf_gate *hf_gate_make(void) {
    struct hf_gate *gate = malloc(sizeof *gate);
    if (gate == NULL) abort();
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    // A wall clock that jumps must not end or prolong a wait.
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&gate->conditions[0], &attributes);
    pthread_cond_init(&gate->conditions[1], &attributes);
    pthread_condattr_destroy(&attributes);
    return gate;
}

void hf_gate_free(struct hf_gate *gate) {
    pthread_cond_destroy(&gate->conditions[0]);
    pthread_cond_destroy(&gate->conditions[1]);
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

void hf_gate_lock(struct hf_gate *gate) { pthread_mutex_lock(&gate->mutex); }
void hf_gate_unlock(struct hf_gate *gate) { pthread_mutex_unlock(&gate->mutex); }

int hf_gate_wait(struct hf_gate *gate, int which, int64_t nanoseconds) {
    if (nanoseconds < 0) {
        pthread_cond_wait(&gate->conditions[which], &gate->mutex);
        return 1;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t fraction = until.tv_nsec + nanoseconds % 1000000000;
    until.tv_sec += nanoseconds / 1000000000 + fraction / 1000000000;
    until.tv_nsec = fraction % 1000000000;
    return pthread_cond_timedwait(&gate->conditions[which], &gate->mutex, &until) != ETIMEDOUT;
}

void hf_gate_signal(struct hf_gate *gate, int which) { pthread_cond_signal(&gate->conditions[which]); }
void hf_gate_broadcast(struct hf_gate *gate, int which) { pthread_cond_broadcast(&gate->conditions[which]); }
