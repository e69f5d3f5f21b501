/** @file onnx.h
 * A trained model as ONNX. One process; not collective.
 */
#ifndef ALLEGRAD_ONNX_H
#define ALLEGRAD_ONNX_H

#include <stdbool.h>

#include "allegrad/exported.h"
#include "allegrad/status.h"

/** Writes an ONNX model (IR 8, operator set 15, float32) with input "x" [N, inputs] and output "y" [N, outputs]:
 * [Sub, Div], then per hidden layer [BatchNormalization], Gemm and the activation, then Gemm. The columns' names stand
 * in its metadata as x_names and y_names, JSON lists. Replaced as a whole or not at all.
 * @param fold  batch normalisations are computed, in double, into the Gemm that follows: W'[i,j] = s[i] W[i,j] and
 *              b'[j] = b[j] + sum over i of (beta[i] - s[i] mean[i]) W[i,j], with s = gamma / sqrt(variance + epsilon)
 *              (Ioffe and Szegedy 2015, algorithm 2). Raw features whose mean is far above their deviation lose digits
 *              by that.
 * @return AGD_OK or AGD_EDATA: memory, the disk, a model beyond the 2 GB of an ONNX file */
agd_code agd_onnx_write(const char *path, const agd_exported *what, bool fold, agd_status *st);

#endif
