/* What a core can do: fused multiply-adds on registers alone, and how many cycles a second has. */

#include <stdint.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

typedef float vector __attribute__((vector_size(BYTES)));

/* As many chains as hide the latency of an instruction, and few enough for the registers. */
#define CHAINS 10

/* Return the FLOPs of a round of `multiply_adds`. */
int64_t flops_a_round(void) { return 2 * CHAINS * (BYTES / sizeof(float)); }

/* Take so many rounds. The result is returned so that no compiler leaves them out. */
float multiply_adds(int64_t rounds, float factor, float term) {
  vector chain[CHAINS], by = factor - (vector){0}, plus = term - (vector){0};
  for (int c = 0; c < CHAINS; c++) chain[c] = by * (float)c;
  for (int64_t n = 0; n < rounds; n++) {
    for (int c = 0; c < CHAINS; c++) chain[c] = chain[c] * by + plus;
  }
  vector sum = chain[0];
  for (int c = 1; c < CHAINS; c++) sum += chain[c];
  float total = 0;
  for (int lane = 0; lane < (int)(BYTES / sizeof(float)); lane++) total += sum[lane];
  return total;
}

/* Take so many rounds of 16 additions, each of which waits for the last: a cycle each. */
int64_t cycles(int64_t rounds, int64_t step) {
  int64_t sum = 0;
  for (int64_t n = 0; n < rounds; n++) {
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) {
      sum += step;
      __asm__ volatile("" : "+r"(sum)); /* keeps additions from being merged */
    }
  }
  return sum;
}
