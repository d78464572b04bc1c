# What every object of ours is compiled with: three INTERFACE targets, linked by beckon_library() and beckon_program().
add_library(warnings INTERFACE)
target_compile_options(warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef
  -Wimplicit-fallthrough $<$<BOOL:${BECKON_WERROR}>:-Werror>)

add_library(hardening INTERFACE)
target_compile_options(hardening INTERFACE -fstack-protector-strong -fno-common)
target_link_options(hardening INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
if(NOT BECKON_SANITIZE)
  target_compile_definitions(hardening INTERFACE $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
endif()

add_library(sanitizers INTERFACE)
if(BECKON_SANITIZE)
  target_compile_options(sanitizers INTERFACE -fsanitize=${BECKON_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(sanitizers INTERFACE -fsanitize=${BECKON_SANITIZE})
  target_compile_definitions(sanitizers INTERFACE BECKON_SANITIZED) # common/cage.h
endif()

if(BECKON_FUZZ)
  target_compile_options(sanitizers INTERFACE -fsanitize=fuzzer-no-link)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
add_compile_definitions(_GNU_SOURCE _FILE_OFFSET_BITS=64 _TIME_BITS=64 BECKON_VERSION="${PROJECT_VERSION}")

if(BECKON_PLANTS)
  add_compile_definitions(BECKON_PLANTS)
endif()

# beckon_library(NAME SOURCES ... LINK ...): a static library whose headers are included as "folder/header.h".
function(beckon_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${arg_LINK} sanitizers PRIVATE warnings hardening)
endfunction()

# beckon_program(NAME MAIN DESTINATION LINK ...): a program made of one main file and the libraries that do the work.
function(beckon_program name main destination)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  add_executable(${name} ${main})
  target_link_libraries(${name} PRIVATE ${arg_LINK} warnings hardening)
  install(TARGETS ${name} RUNTIME DESTINATION ${destination})
endfunction()
