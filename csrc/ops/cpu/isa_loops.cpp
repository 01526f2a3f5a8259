#include "ops/cpu/cam_fusion_isa.h"
#include "ops/cpu/crf_isa.h"
#include "ops/cpu/lattice_isa.h"
#include "ops/cpu/tta_isa.h"

namespace wsss_fast {

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

template const LatticeLoops<float>& lattice_loops();
template const LatticeLoops<double>& lattice_loops();
template const CrfLoops<float>& crf_loops();
template const CrfLoops<double>& crf_loops();
template const CamLoops<float>& cam_loops();
template const CamLoops<double>& cam_loops();
template const TtaLoops<float>& tta_loops();
template const TtaLoops<double>& tta_loops();

}  // namespace wsss_fast
