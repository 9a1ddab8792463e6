/* Asks a model with zeros for inputs and prints what comes back: the smallest whole program.
 *
 *   cc ask.c $(pkg-config --cflags --libs mlos) -o ask && ./ask hub/name [socket]
 */
#include <mlos.h>
#include <stdio.h>

static int failed(const char *what, mlos_status status)
{
    fprintf(stderr, "%s: %s: %s\n", what, mlos_status_name(status), mlos_last_error());
    return 1;
}

/* The first input: 1, 2, 3 ... if its elements are float. */
static void fill(const mlos_tensor *input)
{
    float *x = input->data;
    if (input->dtype != MLOS_F32)
        return;
    for (size_t i = 0; i < input->bytes / sizeof *x; i++)
        x[i] = (float)(i + 1);
}

static void print(const char *name, const mlos_tensor *output)
{
    const float *y = output->data;
    const int64_t *n = output->data;
    printf("%s:", name);
    if (output->dtype == MLOS_F32)
        for (size_t i = 0; i < output->bytes / sizeof *y; i++)
            printf(" %g", (double)y[i]);
    else if (output->dtype == MLOS_I64)
        for (size_t i = 0; i < output->bytes / sizeof *n; i++)
            printf(" %lld", (long long)n[i]);
    else
        printf(" (of another type)");
    printf("\n");
}

static int ask(mlos_model *model, mlos_request *request)
{
    mlos_tensor input = {.size = sizeof input}, output = {.size = sizeof output};
    mlos_tensor_info info = {.size = sizeof info};
    mlos_terms terms = MLOS_TERMS_INIT;
    mlos_timing timing = MLOS_TIMING_INIT;
    mlos_status status;

    if ((status = mlos_request_bind(request)) != MLOS_OK)
        return failed("bind", status);
    if ((status = mlos_request_tensor(request, MLOS_INPUT, 0, &input)) != MLOS_OK)
        return failed("input", status);
    fill(&input);

    terms.job_class = MLOS_HIGH;
    terms.deadline_us = 1000000;
    if ((status = mlos_infer(request, &terms, &timing)) != MLOS_OK)
        return failed("infer", status);

    for (size_t i = 0; i < mlos_model_count(model, MLOS_OUTPUT); i++) {
        if ((status = mlos_model_tensor(model, MLOS_OUTPUT, i, &info)) != MLOS_OK)
            return failed("output", status);
        if ((status = mlos_request_tensor(request, MLOS_OUTPUT, i, &output)) != MLOS_OK)
            return failed("output", status);
        print(info.name, &output);
    }
    return 0;
}

int main(int argc, char **argv)
{
    mlos_client *client = NULL;
    mlos_model *model = NULL;
    mlos_request *request = NULL;
    mlos_status status;
    int code;

    if (argc < 2) {
        fprintf(stderr, "usage: %s hub/name [socket]\n", argv[0]);
        return 2;
    }
    if ((status = mlos_connect(argc > 2 ? argv[2] : NULL, NULL, &client)) != MLOS_OK)
        return failed("connect", status);
    if ((status = mlos_open(client, argv[1], NULL, &model)) != MLOS_OK)
        code = failed("open", status);
    else if ((status = mlos_request_new(model, &request)) != MLOS_OK)
        code = failed("request", status);
    else
        code = ask(model, request);
    mlos_request_free(request);
    mlos_model_free(model);
    mlos_client_free(client);
    return code;
}
