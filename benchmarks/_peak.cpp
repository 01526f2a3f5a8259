// How many float operations a second one thread does on values in registers: separate
// multiplications and additions, as the kernels do them, without fused ones. Built for the
// processor it runs on (see _peaks.py), without fast-math, so no chain of operations may be
// shortened.
#include <cstdint>

namespace {

// Enough independent chains to hide the latency of an operation, few enough for 16 registers.
constexpr int kChains = 12;

template <int kBytes>
struct Vector {
    typedef float Type __attribute__((vector_size(kBytes)));
};

template <int kBytes, typename Step>
float run(std::int64_t rounds, Step step) {
    typename Vector<kBytes>::Type chains[kChains];
    for (int i = 0; i < kChains; ++i) chains[i] = typename Vector<kBytes>::Type{} + 1.0F;
    for (std::int64_t round = 0; round < rounds; ++round) {
        for (int i = 0; i < kChains; ++i) chains[i] = step(chains[i], i);
    }
    float sum = 0;
    for (int i = 0; i < kChains; ++i) sum += chains[i][0];
    return sum;
}

// factor and term are 1 and 0, which the compiler cannot know.
template <int kBytes>
float run(int kind, std::int64_t rounds, float factor, float term) {
    using V = typename Vector<kBytes>::Type;
    const V factors = V{} + factor;
    const V terms = V{} + term;
    if (kind == 0) return run<kBytes>(rounds, [=](V v, int) { return v * factors; });
    if (kind == 1) return run<kBytes>(rounds, [=](V v, int) { return v + terms; });
    return run<kBytes>(rounds, [=](V v, int i) { return i % 2 == 0 ? v * factors : v + terms; });
}

}  // namespace

// kind: 0 multiplications, 1 additions, 2 as many of both. Each round is 12 operations on a vector
// of `bytes`, 32 or 64.
extern "C" float operations(int kind, int bytes, std::int64_t rounds, float factor, float term) {
    return bytes == 64 ? run<64>(kind, rounds, factor, term) : run<32>(kind, rounds, factor, term);
}
