/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A whole SMI plugin in one C file: y = a * x + b, and the sum of each row of y.
 *
 * A model is a text file of "key value" lines (see README.md); the same keys in options_json win over the file. The
 * keys below `behave` make it do what a broken plugin would do, so that a host can be tested against it.
 *
 *     cc -shared -fPIC -std=c11 -Wall -Wextra -Werror -I ../smi/include -o affine.so affine.c
 */
#define _POSIX_C_SOURCE 200809L

#include <smi.h>

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY_BYTES_MAX = 32, VALUE_BYTES_MAX = 64, LINE_BYTES_MAX = 256, PROFILE_ROWS = 2, STACK_STEP_BYTES = 4096 };

/* -- a model ------------------------------------------------------------------------------------------------ */

struct smi_model {
    double a, b;
    long columns;              /* 0: any number */
    long busy_us;              /* of work per row, besides the arithmetic */
    long stack_kib;            /* of stack that a call uses */
    long reentrant, rows_independent;
    long slice_target_us;      /* what mlosd offers to every plugin; a row is a slice here, whatever it says */
    char behave[VALUE_BYTES_MAX];

    int64_t matrix_dims[2], vector_dims[1];
    smi_tensor_spec_t input, outputs[2];
    smi_slice_profile_row_t profile_rows[PROFILE_ROWS];
    smi_slice_profile_t profile;
};

static const char *const matrix_dim_names[] = {"batch", "columns"};
static const char *const vector_dim_names[] = {"batch"};

struct affine {
    smi_plugin_t table;
    const smi_host_t *host;
};

static struct affine *affine_of(const smi_plugin_t *plugin) {
    return plugin->plugin_data;
}

/* Tells the host why, returns the status. */
static int32_t fail(const smi_host_t *host, smi_call_t *call, int32_t status, const char *format, ...) {
    char text[LINE_BYTES_MAX * 2];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0)
        host->set_error(host, call, text, strlen(text));
    return status;
}

/* -- reading a model ---------------------------------------------------------------------------------------- */

static int set_number(const char *value, double *number) {
    char *end;
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) { /* as JSON has them */
        *number = *value == 't';
        return 1;
    }
    *number = strtod(value, &end);
    return end != value && *end == '\0' && isfinite(*number);
}

/* Sets one key; returns 0 if the key or its value is not known. */
static int set(smi_model_t *model, const char *key, const char *value) {
    struct {
        const char *key;
        long *place;
        long max;
    } counts[] = {{"columns", &model->columns, 1 << 20},
                  {"busy_us", &model->busy_us, 1000 * 1000},
                  {"stack_kib", &model->stack_kib, SMI_STACK_BYTES / 1024},
                  {"reentrant", &model->reentrant, 1},
                  {"rows_independent", &model->rows_independent, 1},
                  {"slice_target_us", &model->slice_target_us, 1000 * 1000}};
    double number;

    if (strcmp(key, "behave") == 0) {
        snprintf(model->behave, sizeof model->behave, "%s", value);
        return 1;
    }
    if (!set_number(value, &number))
        return 0;
    if (strcmp(key, "a") == 0 || strcmp(key, "b") == 0) {
        *(key[0] == 'a' ? &model->a : &model->b) = number;
        return 1;
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (strcmp(key, counts[i].key) == 0 && number >= 0 && number <= (double)counts[i].max) {
            *counts[i].place = (long)number;
            return 1;
        }
    }
    return 0;
}

/* The first line says what the file is; then one "key value" per line; # starts a comment. */
static int32_t read_file(const smi_host_t *host, const char *path, smi_model_t *model) {
    char line[LINE_BYTES_MAX], key[KEY_BYTES_MAX], value[VALUE_BYTES_MAX];
    FILE *file = fopen(path, "r");
    if (!file)
        return fail(host, NULL, SMI_NOT_FOUND, "cannot open %s: %s", path, strerror(errno));
    int32_t status = SMI_OK;
    if (!fgets(line, sizeof line, file) || strncmp(line, "affine 1", 8) != 0)
        status = fail(host, NULL, SMI_BAD_MODEL, "%s does not start with `affine 1`", path);
    for (int number = 2; status == SMI_OK && fgets(line, sizeof line, file); number++) {
        line[strcspn(line, "#\n")] = '\0';
        int fields = sscanf(line, "%31s %63s", key, value);
        if (fields > 0 && (fields != 2 || !set(model, key, value)))
            status = fail(host, NULL, SMI_BAD_MODEL, "%s:%d: cannot use `%s`", path, number, line);
    }
    fclose(file);
    return status;
}

/* Copies a token of JSON, a string without escapes or a number, to `token`; returns what follows it, or NULL. */
static const char *json_token(const char *text, char *token, size_t size) {
    int quoted = *text == '"';
    text += quoted;
    size_t length = strcspn(text, quoted ? "\"\\" : ",} \t\r\n");
    if (length == 0 || length >= size || (quoted && text[length] != '"'))
        return NULL;
    memcpy(token, text, length);
    token[length] = '\0';
    return text + length + quoted;
}

static const char *skip_space(const char *text) {
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

/* Reads a flat JSON object of strings and numbers. */
static int32_t read_options(const smi_host_t *host, const char *json, smi_model_t *model) {
    char key[KEY_BYTES_MAX], value[VALUE_BYTES_MAX];
    const char *at = skip_space(json);
    if (*at != '{')
        return fail(host, NULL, SMI_INVALID_ARGUMENT, "options are not a JSON object");
    at = skip_space(at + 1);
    while (*at != '}') {
        const char *next = *at == '"' ? json_token(at, key, sizeof key) : NULL;
        next = next ? skip_space(next) : NULL;
        next = next && *next == ':' ? json_token(skip_space(next + 1), value, sizeof value) : NULL;
        if (!next)
            return fail(host, NULL, SMI_INVALID_ARGUMENT, "options are not a flat object: %.60s", at);
        if (!set(model, key, value))
            return fail(host, NULL, SMI_INVALID_ARGUMENT, "no option `%s` takes `%s`", key, value);
        at = skip_space(next);
        if (*at == ',')
            at = skip_space(at + 1);
        else if (*at != '}')
            return fail(host, NULL, SMI_INVALID_ARGUMENT, "options are cut off");
    }
    return SMI_OK;
}

/* -- running a model ---------------------------------------------------------------------------------------- */

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* One row; y may be NULL when only the sum is wanted. */
static float run_row(const smi_model_t *model, const float *x, float *y, int64_t columns) {
    double sum = 0;
    uint64_t start = model->busy_us > 0 ? now_ns() : 0;
    for (int64_t i = 0; i < columns; i++) {
        float value = (float)(model->a * x[i] + model->b);
        if (y)
            y[i] = value;
        sum += value;
    }
    while (model->busy_us > 0 && now_ns() - start < (uint64_t)model->busy_us * 1000u) {
    }
    return (float)sum;
}

/* The addresses of a row of x and of y, in eight pieces that a float holds exactly, lowest first. */
static void write_addresses(const float *x, float *y, int64_t columns) {
    for (int64_t i = 0; i < 8 && i < columns; i++) {
        uintptr_t address = i < 4 ? (uintptr_t)x : (uintptr_t)y;
        y[i] = (float)(address >> 16 * (i % 4) & 0xffff);
    }
}

static int behaves(const smi_model_t *model, const char *how) {
    return strcmp(model->behave, how) == 0;
}

/* Memory for an output if it is wanted, else *data stays NULL. The ways to `behave` spoil what is asked for. */
static int32_t output(const smi_model_t *model, smi_call_t *call, uint32_t index, const smi_tensor_t *x, void **data) {
    int64_t shape[2] = {x->shape[0], x->shape[1]};
    uint32_t rank = index == 0 ? 2 : 1;
    int32_t dtype = behaves(model, "wrong_dtype") ? SMI_F64 : SMI_F32;
    if (behaves(model, "wrong_rows"))
        shape[0]++;
    if (behaves(model, "negative"))
        shape[0] = -1;
    if (behaves(model, "overflow"))
        shape[0] = INT64_MAX;
    uint64_t bytes = 4 * (uint64_t)shape[0] * (index == 0 ? (uint64_t)shape[1] : 1);
    if (behaves(model, "wrong_rank"))
        rank++;
    if (behaves(model, "wrong_size"))
        bytes++;
    if (behaves(model, "wrong_index"))
        index += 7;
    else if (!call->outputs_wanted[index])
        return SMI_OK;
    return call->host->alloc_output(call, index, dtype, rank, shape, bytes, data);
}

static int32_t run(smi_model_t *model, smi_call_t *call) {
    const smi_host_t *host = call->host;
    const smi_tensor_t *x = &call->inputs[0];
    void *y = NULL, *sums = NULL;
    int32_t status;

    if (x->rank != 2 || x->strides)
        return fail(host, call, SMI_INVALID_ARGUMENT, "x must be a contiguous matrix");
    if (behaves(model, "fail"))
        return fail(host, call, SMI_RUNTIME, "asked to fail");
    if (behaves(model, "fail_mute"))
        return SMI_RUNTIME;
    if (behaves(model, "abort"))
        abort();
    if (behaves(model, "silent"))
        return SMI_OK;
    if (behaves(model, "cancelled"))
        return SMI_CANCELLED;
    if ((status = output(model, call, 0, x, &y)) != SMI_OK || (status = output(model, call, 1, x, &sums)) != SMI_OK)
        return status; /* the host knows why it refused */
    if (behaves(model, "twice") && (status = output(model, call, 0, x, &y)) != SMI_OK)
        return status;

    int64_t rows = x->shape[0], columns = x->shape[1];
    for (int64_t row = 0; row < rows; row++) {
        const float *in = (const float *)x->data + row * columns;
        float sum = run_row(model, in, y ? (float *)y + row * columns : NULL, columns);
        if (behaves(model, "addresses") && y)
            write_addresses(in, (float *)y + row * columns, columns);
        if (sums)
            ((float *)sums)[row] = sum;
        if (behaves(model, "fail_late"))
            return fail(host, call, SMI_RUNTIME, "asked to fail after a row");
        if (host->checkpoint(call) != SMI_OK && !behaves(model, "stubborn"))
            return SMI_CANCELLED;
    }
    return SMI_OK;
}

/* Uses about `kib` of stack, touching each page, and then runs: engines do recurse. */
static int32_t run_deep(smi_model_t *model, smi_call_t *call, long kib) {
    volatile char frame[STACK_STEP_BYTES];
    frame[0] = (char)kib;
    frame[sizeof frame - 1] = (char)kib;
    if (kib <= 0)
        return run(model, call);
    int32_t status = run_deep(model, call, kib - (long)sizeof frame / 1024);
    return frame[0] == frame[sizeof frame - 1] ? status : SMI_RUNTIME; /* keeps the frame alive across the call */
}

/* -- the functions of the plugin ---------------------------------------------------------------------------- */

static int32_t initialize(const smi_plugin_t *plugin, const smi_host_t *host, const char *config_json) {
    affine_of(plugin)->host = host;
    if (strstr(config_json, "\"refuse\""))
        return fail(host, NULL, SMI_INVALID_ARGUMENT, "asked to refuse");
    const char *text = "affine is ready";
    host->log(host, SMI_LOG_DEBUG, text, strlen(text));
    return SMI_OK;
}

static void specify(smi_model_t *model) {
    model->matrix_dims[0] = -1;
    model->matrix_dims[1] = model->columns > 0 ? model->columns : -1;
    model->vector_dims[0] = -1;
    model->input = (smi_tensor_spec_t){
        .name = "x", .dtype = SMI_F32, .rank = 2, .dims = model->matrix_dims, .dim_names = matrix_dim_names};
    model->outputs[0] = model->input;
    model->outputs[0].name = "y";
    model->outputs[1] = (smi_tensor_spec_t){
        .name = "sums", .dtype = SMI_F32, .rank = 1, .dims = model->vector_dims, .dim_names = vector_dim_names};
    if (behaves(model, "bad_rank"))
        model->outputs[0].rank = 1000;
    if (behaves(model, "bad_dtype"))
        model->input.dtype = 99;
}

/* Runs a few rows of zeros, as a real plugin would run its network, for the slice profile. */
static int32_t measure(smi_model_t *model) {
    static const int64_t row_counts[PROFILE_ROWS] = {1, 8};
    int64_t columns = model->columns > 0 ? model->columns : 64;
    float *row = calloc((size_t)columns, sizeof *row);
    if (!row)
        return SMI_NO_MEMORY;
    for (int i = 0; i < PROFILE_ROWS; i++) {
        uint64_t start = now_ns(), mark = start, longest = 0;
        for (int64_t n = 0; n < row_counts[i]; n++) {
            run_row(model, row, row, columns);
            uint64_t now = now_ns();
            longest = now - mark > longest ? now - mark : longest;
            mark = now;
        }
        uint64_t rows = (uint64_t)row_counts[i];
        model->profile_rows[i] = (smi_slice_profile_row_t){rows, mark - start, longest, rows};
    }
    free(row);
    model->profile = (smi_slice_profile_t){.entries = model->profile_rows, .count = PROFILE_ROWS};
    return SMI_OK;
}

static int32_t load(const smi_plugin_t *plugin, const smi_load_request_t *request, smi_model_t **handle) {
    const smi_host_t *host = affine_of(plugin)->host;
    smi_model_t *model = calloc(1, sizeof *model);
    if (!model)
        return SMI_NO_MEMORY;
    model->a = 1;
    model->reentrant = model->rows_independent = 1;
    int32_t status = read_file(host, request->path, model);
    if (status == SMI_OK)
        status = read_options(host, request->options_json, model);
    if (status == SMI_OK && request->component[0] != '\0')
        status = fail(host, NULL, SMI_NOT_FOUND, "there is no component `%s`", request->component);
    if (status == SMI_OK)
        status = measure(model);
    if (status != SMI_OK) {
        free(model);
        return status;
    }
    specify(model);
    *handle = model;
    return SMI_OK;
}

static int32_t describe(const smi_plugin_t *plugin, const smi_model_t *model, smi_model_info_t *info) {
    (void)plugin;
    info->inputs = &model->input;
    info->input_count = 1;
    info->outputs = model->outputs;
    info->output_count = 2;
    info->resources.memory_bytes = sizeof *model;
    info->resources.threads = 1;
    info->resources.flags = (model->reentrant ? SMI_MODEL_REENTRANT : 0) |
                            (model->rows_independent ? SMI_MODEL_ROWS_INDEPENDENT : 0);
    return SMI_OK;
}

static int32_t infer(const smi_plugin_t *plugin, smi_model_t *model, smi_call_t *call) {
    (void)plugin;
    return model->stack_kib > 0 ? run_deep(model, call, model->stack_kib) : run(model, call);
}

static void unload(const smi_plugin_t *plugin, smi_model_t *model) {
    (void)plugin;
    free(model);
}

static void terminate(const smi_plugin_t *plugin) {
    free(affine_of(plugin));
}

static uint64_t resident_bytes(const smi_plugin_t *plugin, const smi_model_t *model) {
    (void)plugin;
    return sizeof *model;
}

static const void *get_extension(const smi_plugin_t *plugin, const smi_model_t *model, const char *id) {
    static const smi_memory_t memory = {.resident_bytes = resident_bytes};
    (void)plugin;
    if (model && strcmp(id, SMI_EXT_SLICE_PROFILE) == 0)
        return &model->profile;
    if (model && strcmp(id, SMI_EXT_MEMORY) == 0)
        return &memory;
    return NULL;
}

/* -- the entry ---------------------------------------------------------------------------------------------- */

static const char *const formats[] = {"affine", NULL};

static const smi_descriptor_t descriptor = {
    .id = "example.affine",
    .name = "Affine example",
    .vendor = "",
    .version = "1.0.0",
    .description = "y = a * x + b, in one C file",
    .formats = formats,
};

static int32_t init(const char *path) {
    (void)path;
    return SMI_OK;
}

static void deinit(void) {
}

static uint32_t get_plugin_count(void) {
    return 1;
}

static const smi_descriptor_t *get_descriptor(uint32_t index) {
    return index == 0 ? &descriptor : NULL;
}

static int32_t create(uint32_t index, const smi_plugin_t **plugin) {
    if (index != 0)
        return SMI_NOT_FOUND;
    struct affine *affine = calloc(1, sizeof *affine);
    if (!affine)
        return SMI_NO_MEMORY;
    affine->table = (smi_plugin_t){
        .descriptor = &descriptor,
        .plugin_data = affine,
        .initialize = initialize,
        .load = load,
        .describe = describe,
        .infer = infer,
        .unload = unload,
        .terminate = terminate,
        .get_extension = get_extension,
    };
    *plugin = &affine->table;
    return SMI_OK;
}

const smi_plugin_entry_t smi_entry = {
    .abi_major = SMI_ABI_MAJOR,
    .abi_minor = SMI_ABI_MINOR,
    .init = init,
    .deinit = deinit,
    .get_plugin_count = get_plugin_count,
    .get_descriptor = get_descriptor,
    .create = create,
};
