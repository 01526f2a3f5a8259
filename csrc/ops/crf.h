#pragma once

#include <cstdint>

#include "common/parallel.h"

// Mean-field inference in the fully connected CRF of Kraehenbuehl and Koltun ("Efficient Inference
// in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011), its kernels filtered on
// permutohedral lattices.
namespace wsss_fast {

enum class CrfNormalization { kSymmetric, kBefore, kAfter, kNone };

enum class CrfFeatures {
    kPosition,  // (x / sxy[0], y / sxy[1]); the lattice is the same for every image
    kColour,    // position, and the image's channels divided by srgb
    kGiven      // an array of features
};

enum class CrfCompat {
    kScalar,    // Potts: the weight that is added to what agrees
    kDiagonal,  // [classes]: a cost for each class's own message
    kMatrix     // [classes][classes]: the cost of label row for the message of class column
};

template <typename T>
struct CrfKernel {
    CrfFeatures kind = CrfFeatures::kPosition;   // where the features come from
    T sxy[2] = {1, 1};                           // standard deviations in x and y, in pixels
    T srgb[3] = {1, 1, 1};                       // standard deviations of the image's channels
    const T* features = nullptr;                 // kGiven: [images][dims][height][width]
    int dims = 0;                                // kGiven: how many features
    CrfCompat compat_kind = CrfCompat::kScalar;  // how to read `compat`
    const T* compat = nullptr;                   // the compatibility, in row-major order
    CrfNormalization normalization = CrfNormalization::kSymmetric;  // of the kernel's filter
};

template <typename T>
struct CrfParams {
    std::int64_t images = 0;                    // N
    std::int64_t sets = 0;                      // M: how many unaries share an image
    std::int64_t classes = 0;                   // C
    std::int64_t height = 0;                    // H
    std::int64_t width = 0;                     // W
    const std::uint8_t* image_bytes = nullptr;  // [N][3][H][W], or null
    const T* image = nullptr;                   // [N][3][H][W], 0 to 255, or null
    const T* unary = nullptr;                   // [N][M][C][H][W] energies
    T* probs = nullptr;                         // out: [N][M][C][H][W], or null
    void* labels = nullptr;                     // out: [N][M][H][W] integers, or null
    int label_bytes = 1;                        // 1 (unsigned), 2 or 4
    const CrfKernel<T>* kernels = nullptr;      // [kernel_count]
    int kernel_count = 0;                       // how many pairwise terms
    int iterations = 0;                         // mean-field updates; 0 gives softmax(-unary)
    Execution execution;                        // threads and cancelling
};

// Throws std::invalid_argument, naming the argument, where the image leaves [0, 255], where the
// unary is NaN or -inf or a whole pixel of it +inf, and where features are not finite or too large.
template <typename T>
void crf(const CrfParams<T>& params);

}  // namespace wsss_fast
