#pragma once

#include <cstdint>
#include <vector>

#include "common/parallel.h"
#include "common/values.h"

namespace wsss_fast {

enum class TtaActivation { kNone, kSoftmax, kSigmoid };

// What a label output is made of.
enum class LabelType { kUint8, kInt16, kInt32 };

// Predictions of one scale and orientation.
template <typename T>
struct TtaInput {
    const T* data;        // [N,C,height,width]
    std::int64_t height;  // rows of a prediction
    std::int64_t width;   // columns of a prediction
    bool flipped;         // made from a mirrored image: columns are read back to front
};

template <typename T>
struct TtaParams {
    std::vector<TtaInput<T>> inputs;                     // what is averaged
    std::int64_t images = 0;                             // N
    std::int64_t classes = 0;                            // C, at least 1
    std::int64_t height = 0;                             // rows of the result
    std::int64_t width = 0;                              // columns of the result
    TtaActivation activation = TtaActivation::kSoftmax;  // applied before the average
    T* mean = nullptr;                                   // [N,C,height,width], or null for labels
    void* labels = nullptr;                              // [N,height,width], or null for the mean
    LabelType label_type = LabelType::kUint8;            // element type of labels
    Execution execution{};                               // how it may run
};

// Fills `mean` with the average over the inputs of activation(bilinear(unflip(input))), or `labels`
// with the class where that average is largest, the first of equals. Nothing of size N*C*H*W is
// made beside the mean that was asked for. Returns the first value that is not finite, or so
// large that a sum might not be; the outputs are then unspecified.
template <typename T>
FiniteResult tta_merge(const TtaParams<T>& params);

}  // namespace wsss_fast
