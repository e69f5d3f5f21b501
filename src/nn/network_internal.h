/* Private to the network room: the workspace, and what its files share. network.c: the training pass, forward and loss;
 * network_backward.c: the backward pass; network_infer.c: inference; network_workspace.c: the buffers. */
#ifndef ALLEGRAD_NETWORK_INTERNAL_H
#define ALLEGRAD_NETWORK_INTERNAL_H

#include "allegrad/gemm.h"
#include "allegrad/matrix.h"
#include "allegrad/network.h"

/* The workspace of one layer. Activations are feature-major with the leading dimension of the current batch. */
typedef struct layer_space {
  agd_real *x;      /* [in, rows]: what the layer receives; for the input BN the raw features */
  agd_real *z;      /* [in, rows]: what the product takes: the batch-normalised x, or x itself without BN */
  double *moments;  /* [lanes, 1 + 2 in]: row count, mean, M2 (see moments.h); the first lane's become the batch's */
  double *variance; /* [in]: the batch's, biased */
  double m;         /* rows that share the batch's statistics */
  double *sums;     /* [lanes, 2 in]: sum dz (= dbeta), sum dz x_hat (= dgamma); the first lane's become the batch's */
  agd_normalization norm;
  agd_gemm forward, backward_input, backward_kernel;
} layer_space;

struct agd_network {
  agd_model *model;
  const agd_kernels *kernels;
  agd_lanes lanes;
  uint64_t rank;
  size_t batch;                  /* rows of the largest global batch */
  size_t lane_count;             /* this rank's */
  size_t run_count;              /* this rank's */
  size_t capacity;               /* rows that the buffers hold */
  size_t rows, ld;               /* rows and leading dimension of the current batch */
  size_t global_rows, first_row; /* of the current global batch; the first of this rank */
  size_t step_rows;              /* of all batches of the step */
  uint64_t noise;
  bool prepared;     /* a batch waits for agd_network_train */
  size_t width;      /* columns from lane to lane */
  size_t *lane_rows; /* [lane_count]: of the current batch */
  size_t widest;     /* the largest number of features of any layer */
  layer_space *layers;
  agd_real *output;        /* [outputs, rows]: prediction, then its gradient */
  agd_real *target;        /* [outputs, rows] */
  agd_real *lane_output;   /* the same for one lane */
  agd_real *lane_target;   /* */
  agd_real *lane_gradient; /* [lane_count, widest]: gradients of vectors, lane by lane, to be folded */
  double *lane_sums;       /* [widest] */
  agd_real *gradient[2];   /* [widest, rows]: gradients of activations, by turns */
  agd_real *gradient_t;    /* [rows, widest]: the transposed gradient that the dW product takes */
  agd_real *norm_space;    /* the arrays of every layer's norm */
  double *sum_space;       /* moments, variance and sums of every layer */
  agd_real *gradients;     /* [run_count], each parallel to model->weights */
  bool owns_gradients;
};

/* Where layer l writes its output: the input of the next, or the prediction. */
static inline agd_real *output_of(const agd_network *net, size_t l) {
  return l + 1 < net->model->layer_count ? net->layers[l + 1].x : net->output;
}

/* Bias that has still to be added to the input of layer l: that of the layer below; NULL for the raw features. */
static inline const agd_real *bias_below(const agd_network *net, size_t l) {
  return l > 0 ? net->model->weights + net->model->layers[l - 1].bias : NULL;
}

/* Dropout of layer l's input, or of the gradient that arrives there. */
void agd_network_drop(const agd_network *net, size_t l, agd_real *x);

/* Statistics of layer l's input, lane by lane; adds the bias of the layer below, unless NULL, and its activation first.
 */
void agd_network_lane_moments(agd_network *net, size_t l, const agd_real *bias);

/* Plans the products for `rows` local rows. */
void agd_network_set_rows(agd_network *net, size_t rows);

/* Cuts this rank's slice of a global batch into its lanes. */
void agd_network_set_batch(agd_network *net, size_t global_rows);

/* Folds the lanes' vectors [lane_count, n] in lane_gradient into n gradients at `offset` of each run. */
void agd_network_fold_lane_gradient(agd_network *net, size_t offset, size_t n);

/* From the gradient of the output to all gradients. Collective through `exchange`. */
void agd_network_backward(agd_network *net, const agd_exchange *exchange);

#endif
