#include <algorithm>

#include "common/cuda/divide.h"
#include "common/cuda/element.h"
#include "common/cuda/launch.h"
#include "ops/cuda/cam_sums.h"

namespace wsss_fast::cuda {
namespace {

constexpr int kMapsOfLaunch = 256;  // parameters of a kernel are 4 KB at most

// Cut off below 0; -inf is no number to be cut off.
template <typename T>
__device__ T cut(T value) {
    return value > T(0) ? value : value - value;
}

// Inputs of one size: those from begin to end.
struct AddedSize {
    std::int32_t height;
    std::int32_t width;
    std::int32_t begin;
    std::int32_t end;
};

struct Adding {
    const void* data[kMostInputs];  // the inputs, by size
    AddedSize sizes[kMostInputs];
    std::int64_t map[kMapsOfLaunch];  // n * K + k
    std::int64_t maps;                // of the launch
    std::int64_t elements;            // sums of a map
    std::uint32_t flipped;            // a bit for each input
    bool relu_each;
};
static_assert(sizeof(Adding) <= 4096);

// A sum for each thread.
template <typename T, Element kElement>
__global__ void add_inputs(Adding adding, T* sums) {
    const std::int64_t number = thread_number();
    const Quotient of_map = divide(number, adding.elements);
    if (of_map.whole >= adding.maps) return;
    int g = 0;
    std::int64_t at = of_map.rest;
    for (std::int64_t pixels;; at -= pixels, ++g) {
        pixels = std::int64_t{adding.sizes[g].height} * adding.sizes[g].width;
        if (at < pixels) break;
    }
    const AddedSize& size = adding.sizes[g];
    const Quotient of_row = divide(at, size.width);
    const std::int64_t row = (adding.map[of_map.whole] * size.height + of_row.whole) * size.width;
    T sum = T(0);
    for (std::int32_t i = size.begin; i < size.end; ++i) {
        const bool flipped = (adding.flipped >> i & 1) != 0;
        const std::int64_t x = flipped ? size.width - 1 - of_row.rest : of_row.rest;
        T value = load_element<T>(adding.data[i], kElement, row + x);
        if (adding.relu_each) value = cut(value);
        sum = i == size.begin ? value : sum + value;
    }
    sums[number] = sum;
}

}  // namespace

CamSizes::CamSizes(const std::vector<SizedInput>& inputs) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        const auto same = [&](const CamSize& size) {
            return size.height == inputs[i].height && size.width == inputs[i].width;
        };
        const auto found = std::find_if(list.begin(), list.end(), same);
        if (found != list.end()) {
            found->inputs.push_back(i);
        } else {
            list.push_back({inputs[i].height, inputs[i].width, elements, {i}});
            elements += std::int64_t{inputs[i].height} * inputs[i].width;
        }
    }
}

template <typename T>
void add_cams(const CamFusionParams<T>& params, const CamSizes& sizes, T* sums) {
    Adding adding{};
    adding.elements = sizes.elements;
    adding.relu_each = params.relu == CamRelu::kEach;
    std::int32_t placed = 0;
    for (std::size_t g = 0; g < sizes.list.size(); ++g) {
        const CamSize& size = sizes.list[g];
        adding.sizes[g] = {size.height, size.width, placed, placed};
        for (const std::size_t i : size.inputs) {
            adding.data[placed] = params.inputs[i].data;
            adding.flipped |= std::uint32_t{params.inputs[i].flipped} << placed;
            adding.sizes[g].end = ++placed;
        }
    }
    const auto wanted = static_cast<std::int64_t>(params.maps.size());
    with_element<T>(params.element, [&](auto element) {
        for (std::int64_t begin = 0; begin < wanted; begin += kMapsOfLaunch) {
            adding.maps = std::min<std::int64_t>(kMapsOfLaunch, wanted - begin);
            std::copy_n(params.maps.begin() + begin, adding.maps, adding.map);
            launch(&add_inputs<T, decltype(element)::value>,
                   for_each(adding.maps * adding.elements), params.place, adding,
                   sums + begin * adding.elements);
        }
    });
}

template void add_cams(const CamFusionParams<float>&, const CamSizes&, float*);
template void add_cams(const CamFusionParams<double>&, const CamSizes&, double*);

}  // namespace wsss_fast::cuda
