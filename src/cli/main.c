#include <stdio.h>

int main(void) {
  puts("allegrad");
  return 0;
}
