/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * smi.h: the Standard Model Interface, version 1.
 *
 * What a host of models (here: mlosd) and a plugin that can run models of some format say to each other. The shape
 * is CLAP's: a plugin is a shared object with ONE exported symbol, `smi_entry`, a table whose first words are the
 * version; everything else is reached from there through tables of functions and opaque handles.
 *
 *     smi_entry.init -> get_descriptor -> create
 *         plugin.initialize -> load -> describe -> infer, infer, ... -> unload -> terminate
 *     smi_entry.deinit
 *
 * Reading this file
 *   - Each function carries a tag `[thread & state]`: on which threads and in which state it may be called.
 *     "any thread" means: by several threads at the same time. "one thread" means: never two at a time, not always
 *     the same. "inside infer" means: on the thread, and on the stack, that infer was called on, before it returns.
 *   - Each pointer has an owner. Memory is freed by its owner only, there is no function here that passes
 *     ownership; "lives until X" says how long the other side may look at it. Text is UTF-8 and ends with NUL,
 *     except where a length is given. Paths are bytes of the file system.
 *   - A function pointer is never NULL, unless it says "may be NULL".
 *   - Functions that return int32_t return a status: SMI_OK or a negative code. A plugin that fails should first
 *     say why through set_error.
 *   - A plugin must not let an exception, a panic or a longjmp leave one of its functions.
 *
 * Growth: structures of version 1 never change. What is new comes as an extension, a table that the other side asks
 * for by name (get_extension); reserved fields are zero. The major version changes when this is not enough, and a
 * host refuses a plugin with another major version. The minor version counts additions of names (status codes,
 * extensions) and never stops a plugin from loading.
 *
 * Trust: a plugin is code. Opening the shared object already runs its initialisers, with all rights of the host.
 */
#ifndef MLOS_SMI_H
#define MLOS_SMI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SMI_ABI_MAJOR 1
#define SMI_ABI_MINOR 1

/* The stack that infer runs on has at least this many bytes, and a guard page below. It is not the thread's own. */
#define SMI_STACK_BYTES (1024 * 1024)

#define SMI_RANK_MAX 16     /* dimensions of a tensor */
#define SMI_TENSORS_MAX 256 /* inputs, and outputs, of a model */

/* Export of the entry from a C or C++ plugin. */
#if defined(__GNUC__)
#define SMI_EXPORT __attribute__((visibility("default")))
#else
#define SMI_EXPORT
#endif

/* -- status ------------------------------------------------------------------------------------------------- */

enum {
    SMI_OK = 0,
    SMI_INVALID_ARGUMENT = -1, /* the caller broke a rule of this file, or the request does not fit the model */
    SMI_NO_MEMORY = -2,
    SMI_NOT_FOUND = -3,    /* a file, a component, an index */
    SMI_UNSUPPORTED = -4,  /* understood, and not possible here: an operator, an element type */
    SMI_RUNTIME = -5,      /* the engine behind the plugin failed */
    SMI_CANCELLED = -6,    /* the host asked for it at a checkpoint */
    SMI_BAD_MODEL = -7,    /* the model file is damaged or not of this format */
    SMI_ABI_MISMATCH = -8, /* the two sides were built for different versions */
    SMI_BUSY = -9          /* a model that is not re-entrant is already running */
};

/* -- tensors ------------------------------------------------------------------------------------------------ */

/* Element types. A string tensor is packed: for each element in C order its length as a little-endian uint32_t,
 * then that many bytes. BF16 and F16 are two bytes. SMI_BOOL is one byte, 0 or 1. */
enum {
    SMI_ABSENT = -1, /* no tensor: an optional input that the caller left out */
    SMI_BOOL = 0,
    SMI_U8 = 1,
    SMI_U16 = 2,
    SMI_U32 = 3,
    SMI_U64 = 4,
    SMI_I8 = 5,
    SMI_I16 = 6,
    SMI_I32 = 7,
    SMI_I64 = 8,
    SMI_F16 = 9,
    SMI_BF16 = 10,
    SMI_F32 = 11,
    SMI_F64 = 12,
    SMI_STRING = 13
};

/* Whose the data of a tensor are. */
enum {
    SMI_OWNER_HOST = 0,
    SMI_OWNER_PLUGIN = 1,
    /* (since 1.1) The host's and another process's, which may write the data at any time, also while infer runs: the
     * request came through shared memory. Whatever is read is some value of the type, and reading twice may give two. So
     * only compute with them; do not check a value and use it after that. The host copies element types by which engines
     * find their way (SMI_BOOL, the integers of 32 and 64 bits, SMI_STRING) and never passes those as shared. */
    SMI_OWNER_SHARED = 2
};

/* A tensor. As an input of a call: all pointers are the host's, live until infer returns, and are read only.
 * The data are aligned to their element's size at least. */
typedef struct smi_tensor {
    const char *name;
    int32_t dtype;          /* SMI_ABSENT: nothing but the name is valid */
    uint32_t rank;          /* 0: a scalar */
    const int64_t *shape;   /* [rank], none negative; may be NULL when rank is 0 */
    const int64_t *strides; /* [rank], in bytes; NULL: C-contiguous. Always NULL for SMI_STRING */
    const void *data;       /* may be dangling (not NULL) when size_bytes is 0 */
    uint64_t size_bytes;
    int32_t owner; /* SMI_OWNER_* */
    uint32_t reserved;
} smi_tensor_t;

/* An input or an output as the model declares it. The sizes of an output are a hint, its type and rank a promise. */
typedef struct smi_tensor_spec {
    const char *name;
    int32_t dtype;
    uint32_t rank;                /* 0: a scalar, or the model does not say */
    const int64_t *dims;          /* [rank]; -1: known per call only. May be NULL when rank is 0 */
    const char *const *dim_names; /* [rank], each NULL or the symbolic name of a dynamic dimension; may be NULL */
    uint32_t flags;               /* SMI_SPEC_* */
    uint32_t reserved;
} smi_tensor_spec_t;

enum {
    SMI_SPEC_OPTIONAL = 1 /* an input that a call may leave out */
};

/* -- models ------------------------------------------------------------------------------------------------- */

enum {
    /* infer may run for this model on several threads, and again on one while a call there is suspended. */
    SMI_MODEL_REENTRANT = 1,
    /* Dimension 0 of every input and every output is a batch of independent rows: running rows [a, b) gives rows
     * [a, b) of the result of running all. The host may split and join calls. */
    SMI_MODEL_ROWS_INDEPENDENT = 2
};

/* What a model needs. A declaration for placement and admission, not a limit that is enforced. */
typedef struct smi_resources {
    uint64_t memory_bytes; /* once loaded, weights included; 0: not known */
    uint32_t threads;      /* that one infer keeps busy, its own included; at least 1 */
    uint32_t flags;        /* SMI_MODEL_* */
} smi_resources_t;

/* Filled by describe. All pointers are the plugin's and live until unload. */
typedef struct smi_model_info {
    const smi_tensor_spec_t *inputs;
    const smi_tensor_spec_t *outputs;
    uint32_t input_count;
    uint32_t output_count;
    smi_resources_t resources;
} smi_model_info_t;

/* What to load. All pointers are the host's and live until load returns. */
typedef struct smi_load_request {
    const char *path;         /* the model file */
    const char *component;    /* name within a package of several files ("encoder"); "" when there is one */
    const char *cache_dir;    /* where the plugin may keep what it derived from the model; may be NULL: nowhere */
    const char *options_json; /* a JSON object, "{}" at least; its keys are the plugin's */
    uint32_t threads;         /* that one infer may keep busy; at least 1 */
    uint32_t reserved;
} smi_load_request_t;

/* A loaded model: the plugin's, opaque to the host. */
typedef struct smi_model smi_model_t;

/* -- the host ----------------------------------------------------------------------------------------------- */

typedef struct smi_host smi_host_t;
typedef struct smi_call smi_call_t;

enum {
    SMI_LOG_ERROR = 1,
    SMI_LOG_WARN = 2,
    SMI_LOG_INFO = 3,
    SMI_LOG_DEBUG = 4,
    SMI_LOG_TRACE = 5
};

/* One inference, as the plugin sees it: the host's, lives until infer returns. */
struct smi_call {
    const smi_host_t *host;
    const smi_tensor_t *inputs;    /* [input_count], in the order of the description */
    const uint8_t *outputs_wanted; /* [output_count], in the order of the description; 0: need not be produced */
    uint32_t input_count;
    uint32_t output_count;
    void *host_data; /* the host's own */
};

/* The host's table. Lives from initialize to the return of terminate. */
struct smi_host {
    uint32_t abi_major;
    uint32_t abi_minor;
    const char *name;
    const char *version;
    void *host_data; /* the host's own */

    /* Writes a line to the host's log. `text` has `length` bytes, no NUL needed, and is copied. level: SMI_LOG_*.
     * [any thread & between initialize and terminate] */
    void (*log)(const smi_host_t *host, int32_t level, const char *text, uint64_t length);

    /* Says why the function that the host is calling now is about to fail. `call` is the call inside infer, and
     * NULL inside initialize and load. The text is copied; the last one counts.
     * [the thread that the host called on & inside initialize, load, infer] */
    void (*set_error)(const smi_host_t *host, smi_call_t *call, const char *text, uint64_t length);

    /* Memory for output `index`, taken from the host's tensor memory, aligned to 64 bytes unless the call runs a part of
     * a larger batch (then to the element's size). It is not cleared: the plugin writes all `size_bytes` of it
     * before infer returns SMI_OK. It may be memory that another process reads and writes meanwhile (never for the
     * element types that SMI_OWNER_SHARED excludes), so what is read back may differ. Once per output and call. `size_bytes` is the product of the shape and the
     * element size, or the packed size for SMI_STRING. On success `*data` lives until infer returns (the host's).
     * An output that is not wanted may be asked for as well; the host throws it away.
     * Fails with SMI_INVALID_ARGUMENT (index, type, rank or size do not fit the model or one another, dimension 0
     * is not that of the inputs of a model with independent rows, or asked twice), SMI_NO_MEMORY.
     * [the infer thread & inside infer] */
    int32_t (*alloc_output)(smi_call_t *call, uint32_t index, int32_t dtype, uint32_t rank, const int64_t *shape,
                            uint64_t size_bytes, void **data);

    /* A layer boundary: a moment when the working set is small and the model can stop. The host may suspend the
     * calling stack here and run other calls, this plugin's and this model's (if re-entrant) too, on the same thread before it
     * returns; what the plugin keeps in thread-local variables may have changed and must be set again. Locks must not be held.
     * Returns SMI_OK: go on; SMI_CANCELLED: release what the call holds and return SMI_CANCELLED from infer.
     * Aim at one per 0.1 to 1 ms; it costs tens of nanoseconds when nothing else is waiting.
     * [the infer thread & inside infer] */
    int32_t (*checkpoint)(smi_call_t *call);

    /* A hint for plugins whose checkpoints cost something to reach: 0 when the next checkpoint would return at
     * once, anything else when the host has a reason to be asked soon. Cheap; never suspends.
     * [the infer thread & inside infer] */
    int32_t (*wants_checkpoint)(smi_call_t *call);

    /* A table of the host by its name, or NULL. The host's, lives as long as this table.
     * [any thread & between initialize and terminate] */
    const void *(*get_extension)(const smi_host_t *host, const char *id);
};

/* -- the plugin --------------------------------------------------------------------------------------------- */

/* Who a plugin is. The plugin's, lives from init to deinit. */
typedef struct smi_descriptor {
    const char *id;             /* reverse domain or path, never changes: "mlos.onnx" */
    const char *name;           /* for people */
    const char *vendor;         /* may be empty */
    const char *version;        /* of the plugin, "1.2.3" */
    const char *description;    /* one line; may be empty */
    const char *const *formats; /* names of the formats it loads, lower case, ends with NULL: {"onnx", NULL} */
} smi_descriptor_t;

/* A plugin: the plugin's, lives from create to the return of terminate. */
typedef struct smi_plugin smi_plugin_t;
struct smi_plugin {
    const smi_descriptor_t *descriptor;
    void *plugin_data; /* the plugin's own */

    /* Makes the plugin ready. `config_json` is a JSON object, "{}" at least, and lives until the return. After a
     * failure only terminate may follow.
     * [one thread & once, after create] */
    int32_t (*initialize)(const smi_plugin_t *plugin, const smi_host_t *host, const char *config_json);

    /* Loads a model and writes its handle to *model (untouched on failure). May take long, and runs on a thread's
     * own stack.
     * [any thread & after initialize] */
    int32_t (*load)(const smi_plugin_t *plugin, const smi_load_request_t *request, smi_model_t **model);

    /* Describes a loaded model. The host owns *info, the plugin what it points to. Says the same every time.
     * [any thread & between load and unload] */
    int32_t (*describe)(const smi_plugin_t *plugin, const smi_model_t *model, smi_model_info_t *info);

    /* Runs a model once. Gets every wanted output's memory by alloc_output and fills it, and calls checkpoint
     * between layers. Runs on a stack of the host's with SMI_STACK_BYTES.
     * [any thread if SMI_MODEL_REENTRANT, else one thread, and not again before it returned & between load and unload] */
    int32_t (*infer)(const smi_plugin_t *plugin, smi_model_t *model, smi_call_t *call);

    /* Frees a model.
     * [any thread & once per model, no infer of it running or suspended] */
    void (*unload)(const smi_plugin_t *plugin, smi_model_t *model);

    /* Frees the plugin; neither `plugin` nor the host's table may be used afterwards.
     * [one thread & once, all models unloaded; also after a failed initialize] */
    void (*terminate)(const smi_plugin_t *plugin);

    /* A table of the plugin (model is NULL) or of one of its models, by its name, or NULL. The plugin's, lives
     * until terminate or unload.
     * [any thread & after initialize] */
    const void *(*get_extension)(const smi_plugin_t *plugin, const smi_model_t *model, const char *id);
};

/* The one exported symbol. Static memory of the shared object. */
typedef struct smi_plugin_entry {
    uint32_t abi_major; /* SMI_ABI_MAJOR; read before anything else */
    uint32_t abi_minor;

    /* Called once after the shared object was opened; `path` is where it lies, "" for a plugin that is built in.
     * [one thread & first] */
    int32_t (*init)(const char *path);

    /* [one thread & last; all plugins terminated] */
    void (*deinit)(void);

    /* [any thread & between init and deinit] */
    uint32_t (*get_plugin_count)(void);

    /* NULL when index is out of range. The plugin's, lives until deinit.
     * [any thread & between init and deinit] */
    const smi_descriptor_t *(*get_descriptor)(uint32_t index);

    /* Writes a new plugin to *plugin (untouched on failure). The plugin owns it; terminate frees it.
     * [one thread & between init and deinit] */
    int32_t (*create)(uint32_t index, const smi_plugin_t **plugin);
} smi_plugin_entry_t;

extern SMI_EXPORT const smi_plugin_entry_t smi_entry;

/* -- extensions --------------------------------------------------------------------------------------------- */
/* Named "<who>.<what>/<version>". A table never changes under its name. An example of one still to come is
 * "mlos.kv-cache/1": a model's token cache, lent to the host between the steps of a generation. */

/* Of a model: how its run time is cut into slices by its checkpoints, measured when it was loaded. The host uses
 * it to choose how many rows to run at a time. */
#define SMI_EXT_SLICE_PROFILE "mlos.slice-profile/1"

typedef struct smi_slice_profile_row {
    uint64_t rows;             /* size of dimension 0 in this measurement */
    uint64_t total_ns;         /* of one infer */
    uint64_t longest_slice_ns; /* the longest time without a checkpoint */
    uint64_t checkpoints;      /* reached in one infer */
} smi_slice_profile_row_t;

typedef struct smi_slice_profile {
    const smi_slice_profile_row_t *entries; /* [count], rows ascending; may be NULL when count is 0 */
    uint32_t count;
    uint32_t reserved;
} smi_slice_profile_t;

/* Of a model: the memory that it holds now. */
#define SMI_EXT_MEMORY "mlos.memory/1"

typedef struct smi_memory {
    /* [any thread & between load and unload] */
    uint64_t (*resident_bytes)(const smi_plugin_t *plugin, const smi_model_t *model);
} smi_memory_t;

#ifdef __cplusplus
}
#endif

#endif /* MLOS_SMI_H */
