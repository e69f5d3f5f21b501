/* The README's table of keys, as test_readme.sh wants it. */
#include "allegrad/config.h"

int main(void) { agd_config_print_keys(stdout, true); }
