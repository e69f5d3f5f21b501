/** @file predictor.h
 * Predicting from a saved model: what a simulation code links. No MPI_Init, no communicator, one process.
 *
 *     agd_predictor *p;
 *     agd_status st = {0};
 *     if (agd_predictor_open("run/final.weights.h5", NULL, &p, &st) != AGD_OK) { fputs(st.message, stderr); ... }
 *     agd_predictor_run(p, x, rows, y, &st);
 *     agd_predictor_close(&p);
 */
#ifndef ALLEGRAD_PREDICTOR_H
#define ALLEGRAD_PREDICTOR_H

#include <stddef.h>

#include "allegrad/model.h"
#include "allegrad/names.h"
#include "allegrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct agd_predictor agd_predictor;

/** Opens a weights file (a path, not a run folder).
 * @param spec  NULL for a file of ours; a file of Keras needs the model it belongs to (inputs and outputs may be 0: as
 *              in the file)
 * @param out   released with agd_predictor_close; NULL on failure
 * @return AGD_OK, AGD_EUSAGE (foreign file without spec), AGD_EDATA (also for the weights of a diverged training). Not
 * collective. */
agd_code agd_predictor_open(const char *path, const agd_model_spec *spec, agd_predictor **out, agd_status *st);

/** Releases and nulls; NULL is fine. */
void agd_predictor_close(agd_predictor **predictor);

size_t agd_predictor_inputs(const agd_predictor *predictor);
size_t agd_predictor_outputs(const agd_predictor *predictor);
/** Column names the model was trained on; empty lists for a foreign file. Borrowed. */
const agd_names *agd_predictor_x_names(const agd_predictor *predictor);
const agd_names *agd_predictor_y_names(const agd_predictor *predictor);

/** The model itself, and the mean and standard deviation of each input (NULL for both when it takes raw rows).
 * Borrowed. */
const agd_model *agd_predictor_model(const agd_predictor *predictor);
const double *agd_predictor_x_mean(const agd_predictor *predictor);
const double *agd_predictor_x_sd(const agd_predictor *predictor);

/** The effective job file (text) that the model was trained with; NULL for a foreign file. Borrowed. */
const char *agd_predictor_job(const agd_predictor *predictor);

/** y [rows, outputs] = model(x [rows, inputs]), row-major, inference mode. x is raw: a standardisation that the model
 * was trained with is applied here, in double. x and y do not overlap. A predictor is used by one thread at a time.
 * @return AGD_OK, or AGD_EDATA naming row and column when x is not finite; then y is untouched. Not collective. */
agd_code agd_predictor_run(agd_predictor *predictor, const agd_real *x, size_t rows, agd_real *y, agd_status *st);

#ifdef __cplusplus
}
#endif

#endif
