/* Runs the network of model.h on an image: reads its pixels, bytes of (size, size, channels), and prints its class.
   LiteRT's library for C comes without headers in the Python package, so the functions that are used stand here. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

#define PIXELS (MODEL_INPUT_SIZE * MODEL_INPUT_SIZE * MODEL_INPUT_CHANNELS)
#define ALIGNMENT 64
#define ROUNDED(bytes) (((bytes) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT)

enum { ON_CPU = 1, INT8 = 9 };
typedef struct {
  int32_t element;
  uint32_t rank;
  int32_t shape[8];
  uint32_t strides[8];
} Type;

int LiteRtCreateEnvironment(int, const void *, void **);
int LiteRtCreateModelFromBuffer(void *, const void *, size_t, void **);
int LiteRtCreateOptions(void **);
int LiteRtSetOptionsHardwareAccelerators(void *, int);
int LiteRtCreateCompiledModel(void *, void *, void *, void **);
int LiteRtCreateTensorBufferFromHostMemory(const Type *, void *, size_t, void (*)(void *), void **);
int LiteRtRunCompiledModel(void *, size_t, size_t, void **, size_t, void **);

static void check(int status, const char *what) {
  if (status != 0) {
    fprintf(stderr, "%s failed with status %d\n", what, status);
    exit(1);
  }
}

int main(void) {
  Type image = {INT8, 4, {1, MODEL_INPUT_SIZE, MODEL_INPUT_SIZE, MODEL_INPUT_CHANNELS}, {0}};
  Type logits = {INT8, 2, {1, MODEL_CLASSES}, {0}};
  int8_t *pixels = aligned_alloc(ALIGNMENT, ROUNDED(PIXELS));
  int8_t *values = aligned_alloc(ALIGNMENT, ROUNDED(MODEL_CLASSES));
  for (int i = 0; i < PIXELS; ++i) pixels[i] = (int8_t)(getchar() + MODEL_INPUT_ZERO_POINT);

  void *environment, *model, *options, *compiled, *input, *output;
  check(LiteRtCreateEnvironment(0, NULL, &environment), "the environment");
  check(LiteRtCreateModelFromBuffer(environment, model_data, MODEL_DATA_BYTES, &model), "reading the model");
  check(LiteRtCreateOptions(&options), "the options");
  check(LiteRtSetOptionsHardwareAccelerators(options, ON_CPU), "the choice of the CPU");
  check(LiteRtCreateCompiledModel(environment, model, options, &compiled), "preparing the model");
  check(LiteRtCreateTensorBufferFromHostMemory(&image, pixels, PIXELS, NULL, &input), "the input");
  check(LiteRtCreateTensorBufferFromHostMemory(&logits, values, MODEL_CLASSES, NULL, &output), "the output");
  check(LiteRtRunCompiledModel(compiled, 0, 1, &input, 1, &output), "running the model");

  int best = 0;
  for (int i = 1; i < MODEL_CLASSES; ++i)
    if (values[i] > values[best]) best = i;
  puts(model_classes[best]);
  return 0;
}
