// A walk is many steps, and a rounding error that leans one way in every step grows with them.
// Hence the form current + sum of weight * (neighbour - current) / degree: its errors are relative
// to the differences, weights of a millionth count beside the weight 1 of the pixel itself, and a
// constant stays what it is to the bit.
#include "ops/cpu/random_walk_isa.h"

#include <type_traits>

#include "common/simd.h"

namespace wsss_fast::WSSS_FAST_ISA {
namespace {

template <typename T>
constexpr int kLanes = kRegisterLanes<T>;

template <typename T>
using Value = typename Register<T>::value;

// In registers: a loop over the bits of the exponent for each number would not be vectorised.
template <typename T, int kCount>
void raise_block(T* values, int exponent) {
    using Block = Pack<T, kCount>;
    typename Block::value square = Block::load(values);
    typename Block::value power = Block::all(T(1));
    for (int rest = exponent; rest > 0; rest >>= 1) {
        if (rest & 1) power *= square;
        square *= square;
    }
    const typename Block::value nothing{};
    Block::store(values, power < Block::all(kLeastAffinity<T>) ? nothing : power);
}

template <typename T>
void raise(T* values, std::int64_t count, int exponent) {
    std::int64_t i = 0;
    for (; i + kLanes<T> <= count; i += kLanes<T>) raise_block<T, kLanes<T>>(values + i, exponent);
    for (; i < count; ++i) raise_block<T, 1>(values + i, exponent);
}

// How many neighbours a row has below and above: what lies beyond the image is left out.
struct Ends {
    int below;
    int above;

    Ends(const WalkLayout& layout, std::int64_t y)
        : below(layout.ends[nearest(layout.reach, layout.height - 1 - y)]),
          above(layout.ends[nearest(layout.reach, y)]) {}

  private:
    static std::int64_t nearest(std::int64_t reach, std::int64_t rows) {
        return rows < reach ? rows : reach;
    }
};

template <typename T>
void invert_degrees(const WalkLayout& layout, const T* weights, std::int64_t y,
                    T* inverse_degrees) {
    const Ends ends(layout, y);
    weights += y * layout.count * layout.stride;
    inverse_degrees += y * layout.stride;
    const Value<T> one = Register<T>::all(T(1));
    for (std::int64_t x = 0; x < layout.width; x += kLanes<T>) {
        Value<T> degree{};
        for (int q = 0; q < ends.below; ++q) {
            degree += Register<T>::load(weights + layout.neighbours[q].weight + x);
        }
        for (int q = 0; q < ends.above; ++q) {
            degree += Register<T>::load(weights + layout.neighbours[q].mirrored + x);
        }
        Register<T>::store(inverse_degrees + x, one / (degree + one));
    }
}

// One step for kBlocks registers of kMaps maps, from the addresses of the first pixel.
template <typename T, int kMaps, int kBlocks, bool kSum>
void step_blocks(const WalkLayout& layout, const Ends& ends, const T* weights,
                 const T* inverse_degrees, const WalkStep<T>& step, std::int64_t at) {
    const T* const current = step.current + at;
    Value<T> own[kMaps][kBlocks];
    Value<T> flow[kMaps][kBlocks];
    for (int m = 0; m < kMaps; ++m) {
        for (int b = 0; b < kBlocks; ++b) {
            own[m][b] = Register<T>::load(current + m * layout.plane + b * kLanes<T>);
            flow[m][b] = Value<T>{};
        }
    }
    const auto flow_from = [&](const T* neighbour, const T* weight) {
        for (int b = 0; b < kBlocks; ++b) {
            const Value<T> w = Register<T>::load(weight + b * kLanes<T>);
            for (int m = 0; m < kMaps; ++m) {
                const T* const there = neighbour + m * layout.plane + b * kLanes<T>;
                flow[m][b] += w * (Register<T>::load(there) - own[m][b]);
            }
        }
    };
    for (int q = 0; q < ends.below; ++q) {
        const WalkNeighbour& n = layout.neighbours[q];
        flow_from(current + n.shift, weights + n.weight);
    }
    for (int q = 0; q < ends.above; ++q) {
        const WalkNeighbour& n = layout.neighbours[q];
        flow_from(current - n.shift, weights + n.mirrored);
    }
    for (int m = 0; m < kMaps; ++m) {
        for (int b = 0; b < kBlocks; ++b) {
            const std::int64_t to = at + m * layout.plane + b * kLanes<T>;
            const Value<T> moved =
                own[m][b] + flow[m][b] * Register<T>::load(inverse_degrees + b * kLanes<T>);
            const Value<T> next =
                step.scale * moved - step.keep * Register<T>::load(step.previous + to);
            Register<T>::store(step.previous + to, next);
            if constexpr (kSum) {
                Register<T>::store(step.sum + to,
                                   Register<T>::load(step.sum + to) + step.coefficient * next);
            }
        }
    }
}

// Calls take(x, blocks) for blocks of registers that cover a row: kBlocks at a time, then fewer.
// How many does not change a bit: pixels are independent.
template <typename T, int kBlocks, typename Take>
void for_blocks(std::int64_t width, std::int64_t x, const Take& take) {
    constexpr std::int64_t kPixels = kBlocks * kLanes<T>;
    for (; x + kPixels - kLanes<T> < width; x += kPixels) {
        take(x, std::integral_constant<int, kBlocks>{});
    }
    if constexpr (kBlocks > 1) for_blocks<T, kBlocks / 2>(width, x, take);
}

// As many blocks at a time as fill the registers.
constexpr int kMapBlocks = 8;

template <typename T, int kMaps, bool kSum>
void step_maps(const WalkLayout& layout, const Ends& ends, const T* weights,
               const T* inverse_degrees, const WalkStep<T>& step, std::int64_t at) {
    for_blocks<T, kMapBlocks / kMaps>(layout.width, 0, [&](std::int64_t x, auto blocks) {
        step_blocks<T, kMaps, decltype(blocks)::value, kSum>(layout, ends, weights + x,
                                                             inverse_degrees + x, step, at + x);
    });
}

template <typename T, bool kSum>
void step_row(const WalkLayout& layout, const T* weights, const T* inverse_degrees,
              std::int64_t maps, const WalkStep<T>& step, std::int64_t y) {
    const Ends ends(layout, y);
    weights += y * layout.count * layout.stride;
    inverse_degrees += y * layout.stride;
    std::int64_t at = y * layout.stride;
    const auto take = [&](auto count) {
        step_maps<T, decltype(count)::value, kSum>(layout, ends, weights, inverse_degrees, step,
                                                   at);
        at += decltype(count)::value * layout.plane;
        maps -= decltype(count)::value;
    };
    while (maps >= 4) take(std::integral_constant<int, 4>{});
    if (maps >= 2) take(std::integral_constant<int, 2>{});
    if (maps >= 1) take(std::integral_constant<int, 1>{});
}

template <typename T>
void step(const WalkLayout& layout, const T* weights, const T* inverse_degrees, std::int64_t maps,
          const WalkStep<T>& step, std::int64_t y) {
    const auto row = step.sum ? &step_row<T, true> : &step_row<T, false>;
    row(layout, weights, inverse_degrees, maps, step, y);
}

template <typename T, int kMaps, int kBlocks>
void gradient_blocks(const WalkLayout& layout, const Ends& ends, const T* weights,
                     const T* inverse_degrees, const WalkGradientStep<T>& step, T* pairs, T* pixels,
                     std::int64_t at) {
    Value<T> own_x[kMaps][kBlocks];
    Value<T> own_z[kMaps][kBlocks];
    Value<T> flow_x[kMaps][kBlocks];
    Value<T> flow_z[kMaps][kBlocks];
    const auto to = [&](int m, int b) { return at + m * layout.plane + b * kLanes<T>; };
    for (int m = 0; m < kMaps; ++m) {
        for (int b = 0; b < kBlocks; ++b) {
            own_x[m][b] = Register<T>::load(step.x + to(m, b));
            own_z[m][b] = Register<T>::load(step.z + to(m, b));
            flow_x[m][b] = flow_z[m][b] = Value<T>{};
        }
    }
    for (int q = 0; q < ends.below; ++q) {
        const WalkNeighbour& n = layout.neighbours[q];
        for (int b = 0; b < kBlocks; ++b) {
            const Value<T> w = Register<T>::load(weights + n.weight + b * kLanes<T>);
            T* const pair = pairs + n.weight + b * kLanes<T>;
            Value<T> sum = Register<T>::load(pair);
            for (int m = 0; m < kMaps; ++m) {
                const Value<T> x = Register<T>::load(step.x + to(m, b) + n.shift) - own_x[m][b];
                const Value<T> z = Register<T>::load(step.z + to(m, b) + n.shift) - own_z[m][b];
                flow_x[m][b] += w * x;
                flow_z[m][b] += w * z;
                sum -= step.scale * (x * z);
            }
            Register<T>::store(pair, sum);
        }
    }
    for (int q = 0; q < ends.above; ++q) {
        const WalkNeighbour& n = layout.neighbours[q];
        for (int b = 0; b < kBlocks; ++b) {
            const Value<T> w = Register<T>::load(weights + n.mirrored + b * kLanes<T>);
            for (int m = 0; m < kMaps; ++m) {
                const std::int64_t from = to(m, b) - n.shift;
                flow_x[m][b] += w * (Register<T>::load(step.x + from) - own_x[m][b]);
                flow_z[m][b] += w * (Register<T>::load(step.z + from) - own_z[m][b]);
            }
        }
    }
    for (int b = 0; b < kBlocks; ++b) {
        const Value<T> inverse = Register<T>::load(inverse_degrees + b * kLanes<T>);
        T* const pixel = pixels + b * kLanes<T>;
        Value<T> sum = Register<T>::load(pixel);
        for (int m = 0; m < kMaps; ++m) {
            T* const x = step.previous_x + to(m, b);
            T* const z = step.previous_z + to(m, b);
            const Value<T> moved_x = flow_x[m][b] * inverse;
            const Value<T> moved_z = own_z[m][b] + flow_z[m][b] * inverse;
            const Value<T> grad = step.coefficient * Register<T>::load(step.grad + to(m, b));
            Register<T>::store(x, step.scale * (own_x[m][b] + moved_x) - Register<T>::load(x));
            Register<T>::store(z, step.scale * moved_z - Register<T>::load(z) + grad);
            sum += step.scale * (own_z[m][b] * moved_x);
        }
        Register<T>::store(pixel, sum);
    }
}

template <typename T>
void gradient_step(const WalkLayout& layout, const T* weights, const T* inverse_degrees,
                   std::int64_t maps, const WalkGradientStep<T>& step, std::int64_t y) {
    const Ends ends(layout, y);
    const std::int64_t row = y * layout.count * layout.stride;
    const std::int64_t first = y * layout.stride;
    std::int64_t map = 0;
    const auto take = [&](auto count) {
        constexpr int kMaps = decltype(count)::value;
        // Four arrays of registers where a step has two.
        for_blocks<T, kMapBlocks / 2 / kMaps>(layout.width, 0, [&](std::int64_t x, auto blocks) {
            gradient_blocks<T, kMaps, decltype(blocks)::value>(
                layout, ends, weights + row + x, inverse_degrees + first + x, step,
                step.pairs + row + x, step.pixels + first + x, first + map * layout.plane + x);
        });
        map += kMaps;
    };
    while (maps - map >= 4) take(std::integral_constant<int, 4>{});
    if (maps - map >= 2) take(std::integral_constant<int, 2>{});
    if (map < maps) take(std::integral_constant<int, 1>{});
}

}  // namespace

template <typename T>
WalkLoops<T> make_walk_loops() {
    return {&raise<T>, &invert_degrees<T>, &step<T>, &gradient_step<T>};
}

template WalkLoops<float> make_walk_loops();
template WalkLoops<double> make_walk_loops();

}  // namespace wsss_fast::WSSS_FAST_ISA
