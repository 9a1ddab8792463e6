/*
 * libmlos: ask a model on the same machine, about a microsecond away, without a copy.
 *
 *   connect -> open a model -> lay out a request and bind it -> fill its inputs where they lie -> infer -> read its
 *   outputs where they lie -> infer again ...
 *
 * Rules that hold for every function:
 *  - [thread]  A client and all that came of it (models, requests) is used by one thread at a time. Clients are
 *              independent of one another: give each thread its own.
 *  - [owner]   What a function named *_new, mlos_connect or mlos_open gives is yours, and goes back by the function that
 *              its comment names, in any order. Pointers that are lent are good for as long as their comment says.
 *  - [error]   A function that can fail returns a mlos_status; mlos_last_error() has the words. Nothing is written to
 *              the places given for results unless the status is MLOS_OK.
 *  - [grow]    Structs begin with their size as the caller knows it: set it with sizeof. Fields are only added, numbers
 *              are never used again.
 *
 * Licence: MIT OR Apache-2.0.
 */
#ifndef MLOS_H
#define MLOS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface: raised when something is added. */
#define MLOS_INTERFACE_VERSION 1

/* How a call or a request ended. */
typedef int32_t mlos_status;
enum {
    MLOS_OK = 0,
    MLOS_INVALID_ARGUMENT = 1, /* it is malformed, and will fail again */
    MLOS_NOT_FOUND = 2,        /* no such model, version, component or tensor */
    MLOS_CONFLICT = 3,         /* not possible now: the request is in flight, or has not run */
    MLOS_TOO_LARGE = 4,        /* larger than a limit, or than the room for it */
    MLOS_UNSUPPORTED = 5,      /* not offered, or another version of the protocol */
    MLOS_OVERLOADED = 6,       /* a queue, the arena or the slots are full: try again later */
    MLOS_DEADLINE_MISS = 7,    /* it would miss or has missed its deadline, or no answer came in time */
    MLOS_UNAVAILABLE = 8,      /* no daemon, or it is draining or gone: mlos_reconnect */
    MLOS_CANCELLED = 9,        /* cancelled, as asked */
    MLOS_MODEL_FAILED = 10,    /* the model failed */
    MLOS_INTERNAL = 11         /* a mistake of the daemon's or this library's */
};

/* Element types. */
enum {
    MLOS_BOOL = 0, MLOS_U8 = 1, MLOS_U16 = 2, MLOS_U32 = 3, MLOS_U64 = 4,
    MLOS_I8 = 5, MLOS_I16 = 6, MLOS_I32 = 7, MLOS_I64 = 8,
    MLOS_F16 = 9, MLOS_BF16 = 10, MLOS_F32 = 11, MLOS_F64 = 12,
    MLOS_STRING = 13 /* see mlos_request_set_strings and mlos_request_string */
};

/* Which side of a model a tensor is on. */
enum { MLOS_INPUT = 0, MLOS_OUTPUT = 1 };

/* How urgent a request is: a more urgent class goes first. */
enum { MLOS_CLASS_DEFAULT = 0, MLOS_REALTIME = 1, MLOS_HIGH = 2, MLOS_NORMAL = 3, MLOS_BATCH = 4 };

/* What to do with a request that is predicted to miss its deadline. */
enum { MLOS_REJECT = 0, MLOS_DEGRADE = 1 };

#define MLOS_RANK_MAX 8

typedef struct mlos_client mlos_client;   /* a connection */
typedef struct mlos_model mlos_model;     /* a model that was opened */
typedef struct mlos_request mlos_request; /* tensors for a model, and a run of it */

/* How to connect. Zero and NULL are the defaults. */
typedef struct mlos_options {
    size_t size;          /* sizeof(mlos_options) */
    const char *name;     /* for the daemon's logs and statistics; the program's name */
    int64_t spin_us;      /* how long a wait looks before it sleeps; 0: 50 us, negative: sleep at once */
    int64_t timeout_ms;   /* how long anything waits for the daemon; 0: 10 s */
    uint64_t arena_bytes; /* memory for tensors; 0: the daemon's default */
    uint32_t slots;       /* requests in flight, a power of two; 0: the daemon's default */
    uint32_t reserved;    /* 0 */
} mlos_options;
#define MLOS_OPTIONS_INIT {sizeof(mlos_options), NULL, 0, 0, 0, 0, 0}

/* An input or output as a model declares it. */
typedef struct mlos_tensor_info {
    size_t size;         /* sizeof(mlos_tensor_info) */
    const char *name;    /* lent, as long as the model is open */
    uint32_t dtype;      /* MLOS_F32 ... */
    uint32_t rank;       /* how many dims count */
    int64_t dims[MLOS_RANK_MAX]; /* outermost first; -1 where any length will do */
} mlos_tensor_info;

/* A tensor of a bound request, where it lies. */
typedef struct mlos_tensor {
    size_t size;         /* sizeof(mlos_tensor) */
    void *data;          /* lent, until the request is freed; 64-byte aligned; at least of this many bytes: */
    size_t bytes;
    uint32_t dtype;
    uint32_t rank;
    uint64_t dims[MLOS_RANK_MAX];
} mlos_tensor;

/* How a run shall be served. Zeros are the defaults. */
typedef struct mlos_terms {
    size_t size;          /* sizeof(mlos_terms) */
    uint32_t job_class;   /* MLOS_REALTIME ... */
    uint32_t on_miss;     /* MLOS_REJECT or MLOS_DEGRADE */
    uint64_t deadline_us; /* from submission; 0: none */
} mlos_terms;
#define MLOS_TERMS_INIT {sizeof(mlos_terms), MLOS_CLASS_DEFAULT, MLOS_REJECT, 0}

/* How a run was served. */
typedef struct mlos_timing {
    size_t size;          /* sizeof(mlos_timing) */
    uint64_t queue_ns;    /* before the first computation */
    uint64_t compute_ns;  /* of computation */
    uint32_t job_class;   /* the class that it was served in */
    uint32_t preemptions; /* how often it was suspended */
    uint32_t parts;       /* in how many parts it ran */
    uint32_t reserved;
} mlos_timing;
#define MLOS_TIMING_INIT {sizeof(mlos_timing), 0, 0, 0, 0, 0, 0}

/* --- the library --- */

/* [any thread] MLOS_INTERFACE_VERSION of the library that is loaded. */
uint32_t mlos_interface_version(void);

/* [any thread] Why the last call of this thread that failed did. Never NULL; good until this thread's next call fails. */
const char *mlos_last_error(void);

/* [any thread] The name of a status: "not_found". Never NULL; good for ever. */
const char *mlos_status_name(mlos_status status);

/* --- clients --- */

/* [any thread] Connects to the daemon at a socket; NULL: $MLOS_SOCKET, a user's own daemon, or the system's. Options may
 * be NULL. Free with mlos_client_free. */
mlos_status mlos_connect(const char *path, const mlos_options *options, mlos_client **client);

/* [client's thread] Connects anew after MLOS_UNAVAILABLE. Models and requests of before stay with the connection that
 * ended: free them, open and bind again. */
mlos_status mlos_reconnect(mlos_client *client);

/* [client's thread] Frees a client. Models and requests of it go on until they are freed. NULL is nothing. */
void mlos_client_free(mlos_client *client);

/* [client's thread] For event loops: a descriptor to watch for reading, after a mlos_poll that found a request not done.
 * Lent, until the client is freed or reconnected; only to be watched. */
mlos_status mlos_client_fd(const mlos_client *client, int *fd);

/* [client's thread] To be called when the descriptor is readable; then mlos_poll those requests that are in flight. */
mlos_status mlos_client_on_readable(mlos_client *client);

/* [client's thread] Waits until one of these requests, all in flight, is answered, and says which: mlos_wait on it does
 * not wait. */
mlos_status mlos_wait_any(mlos_client *client, mlos_request *const *requests, size_t count, size_t *index);

/* --- models --- */

/* [client's thread] Opens "hub/name" or "hub/name@version", and one of its components if that is not NULL. Free with
 * mlos_model_free. */
mlos_status mlos_open(mlos_client *client, const char *model, const char *component, mlos_model **opened);

/* [client's thread] Gives a model back. Requests of it go on. NULL is nothing. */
void mlos_model_free(mlos_model *model);

/* [client's thread] Its id. Lent, until the model is freed. */
const char *mlos_model_id(const mlos_model *model);

/* [client's thread] The version that answered when it was opened, or NULL. Lent, until the model is freed. */
const char *mlos_model_version(const mlos_model *model);

/* [client's thread] How many inputs (MLOS_INPUT) or outputs (MLOS_OUTPUT) it has. */
size_t mlos_model_count(const mlos_model *model, int direction);

/* [client's thread] One of them. Set info->size before. */
mlos_status mlos_model_tensor(const mlos_model *model, int direction, size_t index, mlos_tensor_info *info);

/* --- requests: laying out, then binding, then running as often as you like --- */

/* [client's thread] Begins a request. Free with mlos_request_free. */
mlos_status mlos_request_new(const mlos_model *model, mlos_request **request);

/* [client's thread; before bind] The first dimension of every tensor whose model leaves it open; 1 if not said. */
mlos_status mlos_request_rows(mlos_request *request, uint64_t rows);

/* [client's thread; before bind] The dimensions of an input, or those expected of an output. */
mlos_status mlos_request_dims(mlos_request *request, const char *name, const uint64_t *dims, size_t rank);

/* [client's thread; before bind] The room in bytes for an output, or for an input of strings. */
mlos_status mlos_request_capacity(mlos_request *request, const char *name, size_t bytes);

/* [client's thread; before bind] Leaves out an output that is not wanted, or an input that is not needed. */
mlos_status mlos_request_without(mlos_request *request, const char *name);

/* [client's thread; before bind] Takes memory for all tensors, zeroed, and has the daemon check it, once. */
mlos_status mlos_request_bind(mlos_request *request);

/* [client's thread; bound] Where a tensor lies. The memory is yours but while a run is in flight; data stays the same,
 * the shape of an output may be another after each run. Set tensor->size before. */
mlos_status mlos_request_tensor(const mlos_request *request, int direction, size_t index, mlos_tensor *tensor);

/* [client's thread; bound] Fills an input of strings: count is that of its elements. lengths may be NULL where all
 * strings end with NUL. They are copied. */
mlos_status mlos_request_set_strings(mlos_request *request, const char *name, const char *const *strings,
                                     const size_t *lengths, size_t count);

/* [client's thread; after a run] An element of an output of strings, not ended by NUL. Lent, until the next run. */
mlos_status mlos_request_string(const mlos_request *request, const char *name, size_t element, const char **string,
                                size_t *length);

/* [client's thread; bound] Runs the model and waits. terms and timing may be NULL. After MLOS_DEADLINE_MISS by a timeout
 * the request stays in flight, in vain, until its answer comes: its calls say MLOS_CONFLICT until then. */
mlos_status mlos_infer(mlos_request *request, const mlos_terms *terms, mlos_timing *timing);

/* [client's thread; bound] Sends it and goes on: any number may be in flight. terms may be NULL. */
mlos_status mlos_submit(mlos_request *request, const mlos_terms *terms);

/* [client's thread; in flight] Waits for the answer, whose status this returns: for so long, or with a negative timeout
 * as long as the client's says. A request that was not answered in time is cancelled. timing may be NULL. */
mlos_status mlos_wait(mlos_request *request, int64_t timeout_ms, mlos_timing *timing);

/* [client's thread; in flight] Whether it is answered: 1 or 0. If not, the client's descriptor will become readable. */
mlos_status mlos_poll(mlos_request *request, int *is_done);

/* [client's thread; in flight] Asks the daemon to stop. The answer still comes, as cancelled or as done. */
mlos_status mlos_cancel(mlos_request *request);

/* [client's thread] Frees a request, cancelling it if it is in flight. NULL is nothing. */
void mlos_request_free(mlos_request *request);

#ifdef __cplusplus
}
#endif

#endif /* MLOS_H */
