# cmake -DOUT=FILE -DNAME=FUNCTION -DFILES=A,B,... -P embed_files.cmake: writes a unit whose `const std::vector<EmbeddedFile>& FUNCTION()` holds
# the files' bytes under their names.
string(REPLACE "," ";" files "${FILES}")
set(arrays "")
set(entries "")
set(index 0)
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND arrays "const unsigned char kFile${index}[] = {${bytes}0};\n")
  string(APPEND entries "      {\"${name}\", {reinterpret_cast<const char*>(kFile${index}), sizeof(kFile${index}) - 1}},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUT} "#include \"serve/embedded_file.h\"\n\nnamespace fathom {\nnamespace {\n${arrays}}  // namespace\n
const std::vector<EmbeddedFile>& ${NAME}() {\n  static const std::vector<EmbeddedFile> kFiles = {\n${entries}  };\n  return kFiles;\n}\n\n}  // namespace fathom\n")
