/* The network floor alone, as test_install.sh links it: with the BLAS, without MPI and HDF5. */
#include <allegrad/model.h>
#include <allegrad/network.h>
#include <stdio.h>

int main(void) {
  const agd_model_spec spec = {.inputs = 2, .outputs = 1, .hidden_count = 1, .hidden = {3}, .epsilon = 1e-3};
  const float x[] = {1, 2};
  float y = -1;
  const agd_lanes lanes = agd_lanes_of_ranks(1);
  agd_model *model = NULL;
  agd_network *network = NULL;
  agd_status st = {AGD_OK, ""};
  if (agd_model_create(&spec, &model, &st) != AGD_OK ||
      agd_network_create(model, &lanes, 0, 1, NULL, &network, &st) != AGD_OK) {
    fputs(st.message, stderr);
    return 1;
  }
  agd_network_predict(network, x, 1, &y); /* all weights are 0 */
  agd_network_destroy(&network);
  agd_model_destroy(&model);
  return y != 0;
}
