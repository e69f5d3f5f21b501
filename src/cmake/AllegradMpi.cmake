# MPI, and the HDF5 that was built with the same MPI.
#
# ALLEGRAD_MPI chooses among several installed MPIs; empty means whichever `mpicc` is. Afterwards ALLEGRAD_MPI_FLAVOUR
# is openmpi or mpich (MPICH's descendants Intel MPI, MVAPICH and Cray MPICH count as mpich: they share its ABI).
set(ALLEGRAD_MPI "" CACHE STRING "openmpi or mpich; empty: whichever mpicc is")
set(ALLEGRAD_HDF5 "" CACHE STRING "pkg-config module of the HDF5 to use; empty: hdf5-<MPI>, else hdf5, else h5pcc's")
set(ALLEGRAD_MPI_PACKAGES_openmpi "libopenmpi-dev openmpi-bin")
set(ALLEGRAD_MPI_PACKAGES_mpich "libmpich-dev mpich")

if(NOT ALLEGRAD_MPI MATCHES "^(openmpi|mpich|)$")
  message(FATAL_ERROR "ALLEGRAD_MPI is \"${ALLEGRAD_MPI}\"; it must be openmpi, mpich or empty")
endif()
if(ALLEGRAD_MPI)
  find_program(MPI_C_COMPILER NAMES mpicc.${ALLEGRAD_MPI} mpicc)
endif()
# The launcher that belongs to the compiler wrapper: Debian's mpicc.mpich comes with mpiexec.mpich.
if(MPI_C_COMPILER MATCHES "mpicc(\\.[a-z]+)?$")
  get_filename_component(ALLEGRAD_MPI_BIN "${MPI_C_COMPILER}" DIRECTORY)
  find_program(MPIEXEC_EXECUTABLE NAMES mpiexec${CMAKE_MATCH_1} mpiexec HINTS "${ALLEGRAD_MPI_BIN}")
endif()

find_package(MPI COMPONENTS C)
if(NOT MPI_C_FOUND)
  set(wanted ${ALLEGRAD_MPI})
  if(NOT wanted)
    set(wanted openmpi)
  endif()
  message(FATAL_ERROR "No MPI library was found. Debian: apt-get install ${ALLEGRAD_MPI_PACKAGES_${wanted}}")
endif()

# What the header says it is, not what a path looks like.
include(CheckCSourceCompiles)
set(CMAKE_REQUIRED_LIBRARIES MPI::MPI_C)
check_c_source_compiles("#include <mpi.h>
#ifndef OPEN_MPI
#error
#endif
int main(void) { return 0; }" ALLEGRAD_MPI_IS_OPENMPI)
check_c_source_compiles("#include <mpi.h>
#ifndef MPICH_VERSION
#error
#endif
int main(void) { return 0; }" ALLEGRAD_MPI_IS_MPICH)
unset(CMAKE_REQUIRED_LIBRARIES)
if(ALLEGRAD_MPI_IS_OPENMPI)
  set(ALLEGRAD_MPI_FLAVOUR openmpi)
elseif(ALLEGRAD_MPI_IS_MPICH)
  set(ALLEGRAD_MPI_FLAVOUR mpich)
else()
  message(FATAL_ERROR "The MPI at ${MPI_C_INCLUDE_DIRS} is neither Open MPI nor MPICH nor one of MPICH's descendants")
endif()
if(ALLEGRAD_MPI AND NOT ALLEGRAD_MPI STREQUAL ALLEGRAD_MPI_FLAVOUR)
  message(FATAL_ERROR "ALLEGRAD_MPI=${ALLEGRAD_MPI} was asked for, but ${MPI_C_COMPILER} is ${ALLEGRAD_MPI_FLAVOUR}. "
                      "Debian: apt-get install ${ALLEGRAD_MPI_PACKAGES_${ALLEGRAD_MPI}}, and use a fresh build folder")
endif()

# A program of one MPI under the other's launcher runs N times as rank 0 of 1.
if(NOT MPIEXEC_EXECUTABLE)
  message(FATAL_ERROR "mpiexec was not found. Debian: apt-get install ${ALLEGRAD_MPI_PACKAGES_${ALLEGRAD_MPI_FLAVOUR}}")
endif()
execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE launcher_version ERROR_VARIABLE launcher_version)
set(launcher ${ALLEGRAD_MPI_FLAVOUR}) # srun and the like serve both
if(launcher_version MATCHES "Open MPI|OpenRTE|PRRTE")
  set(launcher openmpi)
elseif(launcher_version MATCHES "HYDRA|Intel\\(R\\) MPI|MVAPICH")
  set(launcher mpich)
endif()
if(NOT launcher STREQUAL ALLEGRAD_MPI_FLAVOUR)
  message(FATAL_ERROR "The launcher ${MPIEXEC_EXECUTABLE} belongs to ${launcher}, the MPI library is "
                      "${ALLEGRAD_MPI_FLAVOUR}. Set MPIEXEC_EXECUTABLE or ALLEGRAD_MPI, in a fresh build folder. "
                      "Debian: apt-get install ${ALLEGRAD_MPI_PACKAGES_${ALLEGRAD_MPI_FLAVOUR}}")
endif()

# HDF5: Debian's pkg-config modules are named after the MPI; elsewhere it is plain hdf5, or h5pcc knows.
if(ALLEGRAD_HDF5)
  pkg_search_module(HDF5 QUIET IMPORTED_TARGET GLOBAL ${ALLEGRAD_HDF5})
  if(NOT HDF5_FOUND)
    message(FATAL_ERROR "ALLEGRAD_HDF5=${ALLEGRAD_HDF5} was not found by pkg-config")
  endif()
else()
  pkg_search_module(HDF5 QUIET IMPORTED_TARGET GLOBAL hdf5-${ALLEGRAD_MPI_FLAVOUR} hdf5)
endif()
add_library(allegrad::HDF5 INTERFACE IMPORTED GLOBAL)
if(HDF5_FOUND)
  target_link_libraries(allegrad::HDF5 INTERFACE PkgConfig::HDF5)
else()
  set(HDF5_PREFER_PARALLEL ON)
  find_package(HDF5 MODULE QUIET COMPONENTS C)
  if(NOT HDF5_FOUND)
    message(FATAL_ERROR "HDF5 was not found. Debian: apt-get install libhdf5-${ALLEGRAD_MPI_FLAVOUR}-dev")
  endif()
  target_include_directories(allegrad::HDF5 INTERFACE ${HDF5_INCLUDE_DIRS})
  target_link_libraries(allegrad::HDF5 INTERFACE ${HDF5_LIBRARIES})
endif()

# The HDF5 found must be parallel, and the program must load one MPI library, not two: headers and linker accept a
# mixture, which then fails at run time. What is loaded is read from the linked program, transitive libraries included.
set(probe "${CMAKE_BINARY_DIR}/CMakeFiles/allegrad_hdf5_probe")
file(WRITE "${probe}.c" "#include <mpi.h>
#include <hdf5.h>
#ifndef H5_HAVE_PARALLEL
#error this HDF5 is serial
#endif
int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  const herr_t failed = H5Pset_fapl_mpio(H5Pcreate(H5P_FILE_ACCESS), MPI_COMM_WORLD, MPI_INFO_NULL);
  MPI_Finalize();
  return failed < 0;
}
")
try_compile(ALLEGRAD_HDF5_LINKS "${CMAKE_BINARY_DIR}" "${probe}.c" LINK_LIBRARIES MPI::MPI_C allegrad::HDF5
            COPY_FILE "${probe}" OUTPUT_VARIABLE probe_log)
if(NOT ALLEGRAD_HDF5_LINKS)
  if(probe_log MATCHES "this HDF5 is serial")
    set(probe_log "It is a serial build.")
  endif()
  message(FATAL_ERROR "The HDF5 found (${HDF5_INCLUDE_DIRS}) cannot be used with ${ALLEGRAD_MPI_FLAVOUR}. "
                      "Debian: apt-get install libhdf5-${ALLEGRAD_MPI_FLAVOUR}-dev\n${probe_log}")
endif()
find_program(ALLEGRAD_LDD ldd)
if(ALLEGRAD_LDD)
  execute_process(COMMAND ${ALLEGRAD_LDD} "${probe}" OUTPUT_VARIABLE loaded ERROR_QUIET)
  string(REGEX MATCHALL "libmpi(ch)?\\.so[.0-9]*" mpi_libraries "${loaded}")
  list(REMOVE_DUPLICATES mpi_libraries)
  list(LENGTH mpi_libraries mpi_count)
  if(mpi_count GREATER 1)
    list(JOIN mpi_libraries " and " mpi_libraries)
    message(FATAL_ERROR "The HDF5 found (${HDF5_INCLUDE_DIRS}) was built with another MPI than ${ALLEGRAD_MPI_FLAVOUR}: "
                        "together they load ${mpi_libraries}. In a fresh build folder choose one that matches. "
                        "Debian: apt-get install libhdf5-${ALLEGRAD_MPI_FLAVOUR}-dev")
  endif()
endif()
message(STATUS "MPI: ${ALLEGRAD_MPI_FLAVOUR} (${MPIEXEC_EXECUTABLE}), HDF5 ${HDF5_VERSION}")
