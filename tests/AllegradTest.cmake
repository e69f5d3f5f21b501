# How tests are built and registered. Tests of ranks run oversubscribed and unbound: CTest runs several side by side.
allegrad_pkg(CMOCKA cmocka libcmocka-dev)
find_program(GNUPLOT gnuplot)
if(NOT GNUPLOT)
  message(FATAL_ERROR "gnuplot was not found; the tests draw pictures. Debian: apt-get install gnuplot-nox")
endif()

# Open MPI refuses root, unless told twice. GCC 12's LeakSanitizer dies of the thread-local memory of some of the 60 libraries
# that are loaded ("Tracer caught signal 11"), and is told to leave it out.
set(ALLEGRAD_TEST_ENV
    OMPI_ALLOW_RUN_AS_ROOT=1
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OPENBLAS_NUM_THREADS=1
    "LSAN_OPTIONS=use_tls=0"
    "UBSAN_OPTIONS=print_stacktrace=1")
set(ALLEGRAD_MPIRUN ${MPIEXEC_EXECUTABLE})
if(ALLEGRAD_MPI_FLAVOUR STREQUAL openmpi)
  list(APPEND ALLEGRAD_MPIRUN --oversubscribe --bind-to none)
elseif(NOT ALLEGRAD_SANITIZE) # AddressSanitizer insists on being loaded first
  add_library(mpich_yield SHARED ${CMAKE_CURRENT_SOURCE_DIR}/mpich_yield.c)
  target_link_libraries(mpich_yield PRIVATE allegrad_compiler)
  list(APPEND ALLEGRAD_MPIRUN -genv LD_PRELOAD ${CMAKE_CURRENT_BINARY_DIR}/libmpich_yield.so)
endif()

# allegrad_register(<test name> <executable target> [RANKS n...]): one CTest entry, or one per number of ranks.
function(allegrad_register name target)
  cmake_parse_arguments(ARG "" "" "RANKS" ${ARGN})
  if(NOT ARG_RANKS)
    add_test(NAME ${name} COMMAND ${target})
    set_tests_properties(${name} PROPERTIES TIMEOUT 300 ENVIRONMENT "${ALLEGRAD_TEST_ENV}")
  endif()
  foreach(ranks ${ARG_RANKS})
    set(processors ${ranks})
    if(processors GREATER 2)
      set(processors 2)
    endif()
    add_test(NAME ${name}_np${ranks}
             COMMAND ${ALLEGRAD_MPIRUN} ${MPIEXEC_NUMPROC_FLAG} ${ranks} $<TARGET_FILE:${target}>)
    set_tests_properties(${name}_np${ranks} PROPERTIES TIMEOUT 300 PROCESSORS ${processors}
                                                       ENVIRONMENT "${ALLEGRAD_TEST_ENV}")
  endforeach()
endfunction()

# allegrad_test(<floor>/test_<room> [DOUBLE | DOUBLE_ONLY] [RANKS n...]): see CMakeLists.txt.
function(allegrad_test path)
  cmake_parse_arguments(ARG "DOUBLE;DOUBLE_ONLY" "" "RANKS" ${ARGN})
  get_filename_component(name ${path} NAME)
  set_property(GLOBAL APPEND PROPERTY ALLEGRAD_TESTS ${path}.c)
  set(libraries allegrad)
  if(ARG_DOUBLE)
    set(libraries allegrad allegrad_double)
  elseif(ARG_DOUBLE_ONLY)
    set(libraries allegrad_double)
  endif()
  foreach(library ${libraries})
    string(REPLACE allegrad ${name} target ${library})
    add_executable(${target} ${path}.c)
    target_link_libraries(${target} PRIVATE ${library} allegrad_compiler PkgConfig::CMOCKA)
    target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    target_compile_definitions(${target} PRIVATE ALLEGRAD_SOURCE="${PROJECT_SOURCE_DIR}")
    if(ARG_DOUBLE AND library STREQUAL allegrad_double)
      set_target_properties(${target} PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
    endif()
    allegrad_register(${target} ${target} RANKS ${ARG_RANKS})
  endforeach()
endfunction()

# allegrad_script_test(<floor>/test_<name>.sh [PROCESSORS n]): a bash script that tests the program from outside. In its
# environment: ALLEGRAD (the program), MPIRUN (launcher and options, ready for `-n 2`), MPI_FLAVOUR (openmpi or mpich),
# SOURCE and BUILD (folders).
function(allegrad_script_test path)
  cmake_parse_arguments(ARG "" "PROCESSORS" "" ${ARGN})
  if(NOT ARG_PROCESSORS)
    set(ARG_PROCESSORS 2)
  endif()
  get_filename_component(name ${path} NAME_WE)
  set_property(GLOBAL APPEND PROPERTY ALLEGRAD_TESTS ${path})
  list(JOIN ALLEGRAD_MPIRUN " " mpirun)
  add_test(NAME ${name} COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/${path})
  set_tests_properties(${name} PROPERTIES
    TIMEOUT 600 PROCESSORS ${ARG_PROCESSORS}
    ENVIRONMENT "${ALLEGRAD_TEST_ENV};ALLEGRAD=$<TARGET_FILE:allegrad_program>;MPIRUN=${mpirun};SOURCE=${PROJECT_SOURCE_DIR};BUILD=${PROJECT_BINARY_DIR};MPI_FLAVOUR=${ALLEGRAD_MPI_FLAVOUR}")
endfunction()

# allegrad_leave_mpi_to_itself(): MPI's own leaks are not ours. For every executable that is there: to be called late.
function(allegrad_leave_mpi_to_itself)
  add_library(lsan_mpi OBJECT lsan_mpi.c)
  target_link_libraries(lsan_mpi PRIVATE MPI::MPI_C allegrad_compiler INTERFACE ${CMAKE_DL_LIBS})
  target_link_options(lsan_mpi INTERFACE LINKER:--export-dynamic-symbol=event_base_loop)
  get_property(targets DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target allegrad_program ${targets})
    get_target_property(type ${target} TYPE)
    if(type STREQUAL EXECUTABLE)
      target_link_libraries(${target} PRIVATE lsan_mpi)
    endif()
  endforeach()
endfunction()

# allegrad_check_all_registered([<source used otherwise>...]): a test that no line registers, or a source that no target is
# made of, is a defect. To be called last.
function(allegrad_check_all_registered)
  get_property(registered GLOBAL PROPERTY ALLEGRAD_TESTS)
  list(APPEND registered ${ARGN})
  get_property(targets DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target ${targets})
    get_target_property(sources ${target} SOURCES)
    list(APPEND registered ${sources})
  endforeach()
  file(GLOB_RECURSE found RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c
       ${CMAKE_CURRENT_SOURCE_DIR}/test_*.sh)
  foreach(file ${found})
    if(NOT file IN_LIST registered)
      message(FATAL_ERROR "tests/${file} is not registered in tests/CMakeLists.txt")
    endif()
  endforeach()
endfunction()

# allegrad_standalone_headers(): compiles every public header alone, so that each brings what it needs.
function(allegrad_standalone_headers)
  file(GLOB headers RELATIVE ${PROJECT_SOURCE_DIR}/include CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/allegrad/*.h)
  foreach(header ${headers})
    get_filename_component(name ${header} NAME_WE)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/headers/${name}.c)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include <${header}>\ntypedef int not_empty;\n")
    list(APPEND sources ${source})
  endforeach()
  add_library(standalone_headers OBJECT ${sources})
  target_link_libraries(standalone_headers PRIVATE allegrad allegrad_compiler)
endfunction()
