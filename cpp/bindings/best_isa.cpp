// Run while CMake configures: exits with the place of the best instruction set among baseline, avx2
// and avx512 that this machine can run.
#include "cpu.hpp"

int main() {
  const nettrim::Features features = nettrim::detect_features();
  return features.avx512 ? 2 : features.avx2 ? 1 : 0;
}
