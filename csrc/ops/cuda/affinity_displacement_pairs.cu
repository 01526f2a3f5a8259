#include <limits>

#include "common/exp_nonpositive.h"
#include "ops/cuda/affinity_displacement_pairs.h"

namespace wsss_fast::cuda {
namespace {

constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();

__device__ std::int64_t load_label(const PairInputs& inputs, std::int64_t i) {
    const void* labels = inputs.labels;
    switch (inputs.label_bytes) {
        case 1:
            if (inputs.label_signed) return static_cast<const std::int8_t*>(labels)[i];
            return static_cast<const std::uint8_t*>(labels)[i];
        case 2:
            return static_cast<const std::int16_t*>(labels)[i];
        case 4:
            return static_cast<const std::int32_t*>(labels)[i];
        default:
            return static_cast<const std::int64_t*>(labels)[i];
    }
}

template <typename T>
__global__ void prepare(PairInputs inputs, PairMaps<T> maps) {
    const std::int64_t of_image = inputs.height * inputs.width;
    const std::int64_t pixel = thread_number();
    const Quotient at = divide(pixel, of_image);
    if (at.whole >= inputs.images) return;
    maps.boundary[pixel] = sigmoid(load_element<T>(inputs.boundary_logits, inputs.element, pixel));
    const std::int64_t label = load_label(inputs, pixel);
    const bool good = label >= 0 && label != kUnconfident && label <= kLargest;
    maps.labels[pixel] = good ? static_cast<std::int32_t>(label) : kNoLabel;
    const std::int64_t dy = 2 * at.whole * of_image + at.rest;
    maps.displacement[pixel] = {
        load_element<T>(inputs.displacement, inputs.element, dy),
        load_element<T>(inputs.displacement, inputs.element, dy + of_image)};
}

}  // namespace

template <typename T>
void prepare_pairs(const PairInputs& inputs, const PairMaps<T>& maps, const Place& place) {
    launch(&prepare<T>, for_each(inputs.images * inputs.height * inputs.width), place, inputs,
           maps);
}

template void prepare_pairs(const PairInputs&, const PairMaps<float>&, const Place&);
template void prepare_pairs(const PairInputs&, const PairMaps<double>&, const Place&);

}  // namespace wsss_fast::cuda
