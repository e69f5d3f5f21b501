#include "allegrad/standardize.h"

#include <math.h>
#include <string.h>

void agd_row_moments(const agd_real *x, size_t rows, size_t C, double *part) {
  double *mean = part + 1, *m2 = mean + C;
  memset(part, 0, (1 + 2 * C) * sizeof *part);
  part[0] = (double)rows;
  if (rows == 0) return;
  for (size_t j = 0; j < rows; j++)
    for (size_t c = 0; c < C; c++) mean[c] += (double)x[j * C + c];
  for (size_t c = 0; c < C; c++) mean[c] /= (double)rows;
  for (size_t j = 0; j < rows; j++)
    for (size_t c = 0; c < C; c++) {
      const double deviation = (double)x[j * C + c] - mean[c];
      m2[c] += deviation * deviation;
    }
}

void agd_population_sd(const double *part, size_t C, double *sd) {
  const double *m2 = part + 1 + C;
  for (size_t c = 0; c < C; c++) sd[c] = part[0] > 0 && m2[c] > 0 ? sqrt(m2[c] / part[0]) : 1;
}

void agd_standardize(agd_real *x, size_t rows, size_t C, const double *mean, const double *sd) {
  for (size_t j = 0; j < rows; j++)
    for (size_t c = 0; c < C; c++) x[j * C + c] = (agd_real)(((double)x[j * C + c] - mean[c]) / sd[c]);
}
