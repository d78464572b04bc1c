# Run at build time: cmake -DOUT=web_files.c -DFILES="a;b" -P embed.cmake. Writes the files into a table of C,
# each with its type and an entity tag of its content.

set(types css "text/css; charset=utf-8" html "text/html; charset=utf-8" js "text/javascript; charset=utf-8"
          svg "image/svg+xml")
set(arrays "")
set(table "")
set(number 0)
foreach(file IN LISTS FILES)
  get_filename_component(name ${file} NAME)
  string(REGEX MATCH "[a-z]+$" extension ${name})
  list(FIND types ${extension} at)
  math(EXPR at "${at} + 1")
  list(GET types ${at} type)
  file(READ ${file} content HEX)
  string(REGEX REPLACE "(..)" "0x\\1," content "${content}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n    "
         content "${content}")
  file(SHA256 ${file} digest)
  string(SUBSTRING ${digest} 0 16 tag)
  string(APPEND arrays "static const unsigned char file_${number}[] = {\n    ${content}\n};\n\n")
  string(APPEND table "    {\"${name}\", \"${type}\", \"\\\"${tag}\\\"\", file_${number}, sizeof(file_${number})},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUT} "#include \"coordinator/web_files.h\"\n\n${arrays}const WebFile web_files[] = {\n${table}};\nconst size_t web_file_count = ${number};\n")
