/* Private to the kernels room: the sets that a build may hold, and how a file of kernels becomes one. */
#ifndef ALLEGRAD_NUM_KERNELS_SET_H
#define ALLEGRAD_NUM_KERNELS_SET_H

#include "allegrad/kernels.h"

extern const agd_kernels agd_kernels_reference, agd_kernels_baseline;
#ifdef __x86_64__
extern const agd_kernels agd_kernels_avx2, agd_kernels_avx512;
#endif

/* The set made of a file's static functions, which bear the names of the members. */
#define AGD_KERNELS_SET(name)                                                                                          \
  {                                                                                                                    \
    .isa = name, .bias_activation = bias_activation, .bias_activation_moments = bias_activation_moments,               \
    .normalization = normalization, .normalize = normalize, .batchnorm_forward = batchnorm_forward,                    \
    .batchnorm_backward_sums = batchnorm_backward_sums, .batchnorm_backward = batchnorm_backward,                      \
    .activation_backward = activation_backward, .batchnorm_backward_local = batchnorm_backward_local, .mse = mse,      \
    .column_sums = column_sums, .dropout = dropout, .transpose = transpose, .sum_squares = sum_squares,                \
    .decay = decay, .sgd = sgd, .sgd_momentum = sgd_momentum, .adam = adam                                             \
  }

#endif
