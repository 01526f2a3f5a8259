#include "ops/cpu/affinity_displacement_isa.h"
#include "ops/cpu/cam_fusion_isa.h"
#include "ops/cpu/crf_isa.h"
#include "ops/cpu/lattice_isa.h"
#include "ops/cpu/path_isa.h"
#include "ops/cpu/random_walk_isa.h"
#include "ops/cpu/tta_isa.h"

namespace wsss_fast {

template <typename T>
const PairLoops<T>& pair_loops() {
#if defined(WSSS_FAST_X86)
    static const PairLoops<T> loops[] = {baseline::make_pair_loops<T>(), avx2::make_pair_loops<T>(),
                                         avx512::make_pair_loops<T>()};
#else
    static const PairLoops<T> loops[] = {baseline::make_pair_loops<T>()};
#endif
    return for_isa(loops);
}

template const PairLoops<float>& pair_loops();
template const PairLoops<double>& pair_loops();

template <typename T>
const CamLoops<T>& cam_loops() {
#if defined(WSSS_FAST_X86)
    static const CamLoops<T> loops[] = {baseline::make_cam_loops<T>(), avx2::make_cam_loops<T>(),
                                        avx512::make_cam_loops<T>()};
#else
    static const CamLoops<T> loops[] = {baseline::make_cam_loops<T>()};
#endif
    return for_isa(loops);
}

template const CamLoops<float>& cam_loops();
template const CamLoops<double>& cam_loops();

template <typename T>
const CrfLoops<T>& crf_loops() {
#if defined(WSSS_FAST_X86)
    static const CrfLoops<T> loops[] = {baseline::make_crf_loops<T>(), avx2::make_crf_loops<T>(),
                                        avx512::make_crf_loops<T>()};
#else
    static const CrfLoops<T> loops[] = {baseline::make_crf_loops<T>()};
#endif
    return for_isa(loops);
}

template const CrfLoops<float>& crf_loops();
template const CrfLoops<double>& crf_loops();

template <typename T>
const LatticeLoops<T>& lattice_loops() {
#if defined(WSSS_FAST_X86)
    static const LatticeLoops<T> loops[] = {baseline::make_lattice_loops<T>(),
                                            avx2::make_lattice_loops<T>(),
                                            avx512::make_lattice_loops<T>()};
#else
    static const LatticeLoops<T> loops[] = {baseline::make_lattice_loops<T>()};
#endif
    return for_isa(loops);
}

template const LatticeLoops<float>& lattice_loops();
template const LatticeLoops<double>& lattice_loops();

template <typename T>
const PathLoops<T>& path_loops() {
#if defined(WSSS_FAST_X86)
    static const PathLoops<T> loops[] = {baseline::make_path_loops<T>(), avx2::make_path_loops<T>(),
                                         avx512::make_path_loops<T>()};
#else
    static const PathLoops<T> loops[] = {baseline::make_path_loops<T>()};
#endif
    return for_isa(loops);
}

template const PathLoops<float>& path_loops();
template const PathLoops<double>& path_loops();

template <typename T>
const WalkLoops<T>& walk_loops() {
#if defined(WSSS_FAST_X86)
    static const WalkLoops<T> loops[] = {baseline::make_walk_loops<T>(), avx2::make_walk_loops<T>(),
                                         avx512::make_walk_loops<T>()};
#else
    static const WalkLoops<T> loops[] = {baseline::make_walk_loops<T>()};
#endif
    return for_isa(loops);
}

template const WalkLoops<float>& walk_loops();
template const WalkLoops<double>& walk_loops();

template <typename T>
const TtaLoops<T>& tta_loops() {
#if defined(WSSS_FAST_X86)
    static const TtaLoops<T> loops[] = {baseline::make_tta_loops<T>(), avx2::make_tta_loops<T>(),
                                        avx512::make_tta_loops<T>()};
#else
    static const TtaLoops<T> loops[] = {baseline::make_tta_loops<T>()};
#endif
    return for_isa(loops);
}

template const TtaLoops<float>& tta_loops();
template const TtaLoops<double>& tta_loops();

}  // namespace wsss_fast
