/* What a network in a C header is made of; nettrim/export/header.py copies what is called.

   Signals are channels, each row by row. Weights come in CSR: for every output the count of its weights,
   and for every weight its column and its value. */

/* A window that moves over every channel of a signal. */
typedef struct {
    int32_t height, width;               /* of a channel that goes in */
    int32_t out_height, out_width;       /* of a channel that comes out */
    int32_t kernel_height, kernel_width; /* of the window */
    int32_t stride_y, stride_x;
    int32_t padding_y, padding_x; /* before the channel */
    int32_t dilation_y, dilation_x;
} nettrim_window;

/* rows of in times the weights, plus bias */
static void nettrim_dense(const float *in, float *out, int32_t rows, int32_t inputs, int32_t outputs,
                          const nettrim_index *counts, const nettrim_index *columns,
                          const float *values, const float *bias)
{
    for (; rows > 0; --rows, in += inputs, out += outputs) {
        const nettrim_index *column = columns;
        const float *value = values;
        for (int32_t o = 0; o < outputs; ++o) {
            float sum = bias ? bias[o] : 0.0f;
            for (nettrim_index n = counts[o]; n > 0; --n) {
                sum += *value++ * in[*column++];
            }
            out[o] = sum;
        }
    }
}

/* a channel of a convolution grows by what one weight sees at every position; tap counts the entries
   of the kernel, channel by channel */
static void nettrim_tap(const float *in, float *out, const nettrim_window *w, int32_t tap,
                        float value)
{
    const int32_t x0 = tap % w->kernel_width * w->dilation_x - w->padding_x;
    const int32_t y0 = tap / w->kernel_width % w->kernel_height * w->dilation_y - w->padding_y;
    in += tap / (w->kernel_width * w->kernel_height) * (w->height * w->width);
    for (int32_t i = 0; i < w->out_height; ++i, out += w->out_width) {
        const int32_t y = y0 + i * w->stride_y;
        if (y < 0 || y >= w->height) {
            continue;
        }
        for (int32_t j = 0; j < w->out_width; ++j) {
            const int32_t x = x0 + j * w->stride_x;
            if (x >= 0 && x < w->width) {
                out[j] += value * in[y * w->width + x];
            }
        }
    }
}

/* per_group outputs see the channels of one group, of group_size entries */
static void nettrim_convolution(const float *in, float *out, const nettrim_window *w,
                                int32_t outputs, int32_t per_group, int32_t group_size,
                                const nettrim_index *counts, const nettrim_index *columns,
                                const float *values, const float *bias)
{
    const int32_t size = w->out_height * w->out_width;
    for (int32_t o = 0; o < outputs; ++o, out += size) {
        for (int32_t i = 0; i < size; ++i) {
            out[i] = bias ? bias[o] : 0.0f;
        }
        for (nettrim_index n = counts[o]; n > 0; --n) {
            nettrim_tap(in + o / per_group * group_size, out, w, (int32_t)*columns++, *values++);
        }
    }
}

/* the largest value in a window, padding left out */
static float nettrim_largest(const float *in, const nettrim_window *w, int32_t y0, int32_t x0)
{
    float largest = -FLT_MAX;
    for (int32_t y = y0; y < y0 + w->kernel_height; ++y) {
        for (int32_t x = x0; x < x0 + w->kernel_width; ++x) {
            const int inside = y >= 0 && y < w->height && x >= 0 && x < w->width;
            if (inside && in[y * w->width + x] > largest) {
                largest = in[y * w->width + x];
            }
        }
    }
    return largest;
}

static void nettrim_max_pool(const float *in, float *out, const nettrim_window *w, int32_t channels)
{
    for (; channels > 0; --channels, in += w->height * w->width) {
        for (int32_t i = 0; i < w->out_height; ++i) {
            for (int32_t j = 0; j < w->out_width; ++j) {
                *out++ = nettrim_largest(in, w, i * w->stride_y - w->padding_y,
                                         j * w->stride_x - w->padding_x);
            }
        }
    }
}

/* an average is a convolution with equal weights in every channel */
static void nettrim_average_pool(const float *in, float *out, const nettrim_window *w,
                                 int32_t channels)
{
    const int32_t taps = w->kernel_height * w->kernel_width;
    const int32_t size = w->out_height * w->out_width;
    for (; channels > 0; --channels, in += w->height * w->width, out += size) {
        for (int32_t i = 0; i < size; ++i) {
            out[i] = 0.0f;
        }
        for (int32_t tap = 0; tap < taps; ++tap) {
            nettrim_tap(in, out, w, tap, 1.0f / (float)taps);
        }
    }
}

static void nettrim_mean(const float *in, float *out, int32_t channels, int32_t size)
{
    for (; channels > 0; --channels, in += size) {
        float sum = 0.0f;
        for (int32_t i = 0; i < size; ++i) {
            sum += in[i];
        }
        *out++ = sum / (float)size;
    }
}

static void nettrim_scale(float *values, int32_t channels, int32_t size, const float *factor,
                          const float *shift)
{
    for (int32_t c = 0; c < channels; ++c, values += size) {
        for (int32_t i = 0; i < size; ++i) {
            values[i] = values[i] * factor[c] + shift[c];
        }
    }
}

static void nettrim_relu(float *values, int32_t size)
{
    for (int32_t i = 0; i < size; ++i) {
        if (values[i] < 0.0f) {
            values[i] = 0.0f;
        }
    }
}

static void nettrim_add(const float *in, float *values, int32_t size)
{
    for (int32_t i = 0; i < size; ++i) {
        values[i] += in[i];
    }
}

static void nettrim_copy(const float *in, float *out, int32_t size)
{
    for (int32_t i = 0; i < size; ++i) {
        out[i] = in[i];
    }
}
