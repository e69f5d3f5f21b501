# The protobuf messages of src/*/*.proto, compiled by protoc-c into one object library that every library of ours takes
# in. Generated code is not ours to keep free of warnings, so it does not get our compiler flags.
file(GLOB protos CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*/*.proto)
set(ALLEGRAD_MESSAGES_DIR ${PROJECT_BINARY_DIR}/messages)
file(MAKE_DIRECTORY ${ALLEGRAD_MESSAGES_DIR})
foreach(proto ${protos})
  get_filename_component(folder ${proto} DIRECTORY)
  get_filename_component(name ${proto} NAME_WE)
  set(generated ${ALLEGRAD_MESSAGES_DIR}/${name}.pb-c)
  add_custom_command(OUTPUT ${generated}.c ${generated}.h
    COMMAND ${PROTOC_C} --c_out=${ALLEGRAD_MESSAGES_DIR} --proto_path=${folder} ${proto}
    DEPENDS ${proto} COMMENT "Compiling the messages of ${name}.proto" VERBATIM)
  list(APPEND messages ${generated}.c)
endforeach()
add_library(allegrad_messages OBJECT ${messages})
target_include_directories(allegrad_messages PUBLIC ${ALLEGRAD_MESSAGES_DIR})
target_link_libraries(allegrad_messages PRIVATE PkgConfig::PROTOBUF_C)
