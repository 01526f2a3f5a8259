#include "common/cuda/carve.h"
#include "common/cuda/launch.h"
#include "ops/cuda/tta.h"
#include "ops/cuda/tta_held.h"
#include "ops/cuda/tta_sample.h"

namespace wsss_fast::cuda {
namespace {

template <typename T>
bool is_held(const TtaParams& params, const Merge<T>& merge) {
    return params.activation == TtaActivation::kSoftmax && can_be_held<T>(held_layout(merge));
}

template <typename T>
Merge<T> merge_of(const TtaParams& params, Carve& carve) {
    Merge<T> merge{};
    for (const SizedInput& input : params.inputs) {
        merge.inputs[merge.count++] = {input.data,
                                       input.height,
                                       input.width,
                                       bilinear_scale<T>(input.height, params.height),
                                       bilinear_scale<T>(input.width, params.width),
                                       input.flipped};
    }
    merge.images = params.images;
    merge.classes = params.classes;
    merge.height = params.height;
    merge.width = params.width;
    merge.out = params.out;
    merge.label_bytes = params.label_bytes;
    if (params.activation == TtaActivation::kSoftmax && !is_held(params, merge)) {
        merge.peaks = carve.take<T>(merge.count * merge.pixels());
        merge.inverses = carve.take<T>(merge.count * merge.pixels());
    }
    return merge;
}

}  // namespace

template <typename T>
std::int64_t tta_workspace_bytes(const TtaParams& params) {
    Carve carve;
    merge_of<T>(params, carve);
    return carve.bytes();
}

template <typename T>
void tta_merge(const TtaParams& params) {
    static_assert(sizeof(Merge<T>) <= 4000);
    Carve carve(params.workspace);
    const Merge<T> merge = merge_of<T>(params, carve);
    if (is_held(params, merge)) {
        merge_held(merge, held_layout(merge), params.element, params.place);
    } else {
        merge_streamed(merge, params.activation, params.element, params.place);
    }
}

template std::int64_t tta_workspace_bytes<float>(const TtaParams&);
template std::int64_t tta_workspace_bytes<double>(const TtaParams&);
template void tta_merge<float>(const TtaParams&);
template void tta_merge<double>(const TtaParams&);

}  // namespace wsss_fast::cuda
