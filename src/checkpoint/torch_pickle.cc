#include "checkpoint/torch_pickle.h"

#include <bit>
#include <cstring>
#include <deque>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

constexpr size_t kMaxDims = 64;

struct Node;
using Ref = const Node*;

// A value of the machine. Nodes live in one arena until the end, so that a pickle which holds itself leaks nothing.
struct Node {
  enum Kind { kNone, kBool, kInt, kFloat, kString, kTuple, kList, kDict, kGlobal, kStorage, kTensor, kMark } kind = kNone;
  int64_t integer = 0;       // kInt, kBool
  std::string text;          // kString; kGlobal: "module name"; kStorage: key
  std::vector<Ref> items;    // kTuple, kList; kDict: key, value, key, value ...
  at::ScalarType dtype = at::kFloat;  // kStorage, kTensor
  int64_t num_bytes = 0;     // kStorage
  PickledTensor tensor;      // kTensor
};

const char* KindName(Node::Kind kind) {
  constexpr const char* kNames[] = {"None", "a bool", "an integer", "a float", "a string", "a tuple", "a list", "a dict", "a global", "a storage", "a tensor", "a mark"};
  return kNames[kind];
}

struct NamedType {
  std::string_view name;
  at::ScalarType dtype;
};
constexpr NamedType kStorageTypes[] = {
    {"torch FloatStorage", at::kFloat},   {"torch HalfStorage", at::kHalf},   {"torch BFloat16Storage", at::kBFloat16},
    {"torch DoubleStorage", at::kDouble}, {"torch LongStorage", at::kLong},   {"torch IntStorage", at::kInt},
    {"torch ShortStorage", at::kShort},   {"torch CharStorage", at::kChar},   {"torch ByteStorage", at::kByte},
    {"torch BoolStorage", at::kBool},     {"torch.storage UntypedStorage", at::kByte},
};
// dtypes as _rebuild_tensor_v3 names them.
constexpr NamedType kDtypes[] = {
    {"torch float32", at::kFloat}, {"torch float16", at::kHalf}, {"torch bfloat16", at::kBFloat16}, {"torch float64", at::kDouble},
    {"torch int64", at::kLong}, {"torch int32", at::kInt}, {"torch int16", at::kShort}, {"torch int8", at::kChar}, {"torch uint8", at::kByte},
    {"torch bool", at::kBool}, {"torch uint16", at::kUInt16}, {"torch uint32", at::kUInt32}, {"torch uint64", at::kUInt64},
    {"torch float8_e4m3fn", at::kFloat8_e4m3fn}, {"torch float8_e5m2", at::kFloat8_e5m2}, {"torch float8_e8m0fnu", at::kFloat8_e8m0fnu},
};
constexpr std::string_view kOtherGlobals[] = {
    "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter",
};

const NamedType* FindType(std::span<const NamedType> types, std::string_view name) {
  for (const NamedType& type : types)
    if (type.name == name) return &type;
  return nullptr;
}

bool IsKnownGlobal(std::string_view name) {
  for (const std::string_view known : kOtherGlobals)
    if (name == known) return true;
  return FindType(kStorageTypes, name) != nullptr || FindType(kDtypes, name) != nullptr;
}

class Machine {
 public:
  Machine(std::span<const std::byte> pickle, const std::string& what) : pickle_(pickle), what_(what) {}

  Ref Run() {
    while (true) {
      const uint8_t opcode = Get<uint8_t>();
      if (opcode == '.') return Pop();
      Step(opcode);
    }
  }

 private:
  template <typename... Args>
  [[noreturn]] void Fail(fmt::format_string<Args...> format, Args&&... args) const {
    ThrowUserError("{}: byte {} of its pickle: {}", what_, at_, fmt::format(format, std::forward<Args>(args)...));
  }

  std::span<const std::byte> Take(uint64_t length) {
    if (length > pickle_.size() - at_) Fail("{} bytes are needed, {} are left (is it cut short?)", length, pickle_.size() - at_);
    at_ += length;
    return pickle_.subspan(at_ - length, length);
  }
  template <typename T>
  T Get() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string GetText(uint64_t length) {
    const auto bytes = Take(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string GetLine() {
    std::string line;
    for (char c; (c = static_cast<char>(Get<uint8_t>())) != '\n';) line += c;
    return line;
  }

  Node& New(Node::Kind kind) {
    arena_.emplace_back().kind = kind;
    return arena_.back();
  }
  void Push(Ref node) { stack_.push_back(node); }
  void PushInt(int64_t value) {
    Node& node = New(Node::kInt);
    node.integer = value;
    Push(&node);
  }
  void PushText(std::string text) {
    Node& node = New(Node::kString);
    node.text = std::move(text);
    Push(&node);
  }
  Ref Pop() {
    if (stack_.empty() || stack_.back()->kind == Node::kMark) Fail("the stack is empty");
    Ref top = stack_.back();
    stack_.pop_back();
    return top;
  }
  // The values above the last mark, which goes too.
  std::vector<Ref> PopToMark() {
    size_t mark = stack_.size();
    while (mark > 0 && stack_[mark - 1]->kind != Node::kMark) --mark;
    if (mark == 0) Fail("no mark on the stack");
    std::vector<Ref> items(stack_.begin() + static_cast<std::ptrdiff_t>(mark), stack_.end());
    stack_.resize(mark - 1);
    return items;
  }
  Ref Expect(Ref node, Node::Kind kind, const char* role) const {
    if (node->kind != kind) Fail("{} must be {}, not {}", role, KindName(kind), KindName(node->kind));
    return node;
  }
  // The container on top of the stack, which is changed in place (every node is ours, in arena_).
  Node& Top(Node::Kind kind) {
    if (stack_.empty()) Fail("the stack is empty");
    return const_cast<Node&>(*Expect(stack_.back(), kind, "the value that is filled"));
  }
  void PushTuple(std::vector<Ref> items) {
    Node& node = New(Node::kTuple);
    node.items = std::move(items);
    Push(&node);
  }
  void Memoize(uint64_t slot) {
    if (stack_.empty()) Fail("the stack is empty");
    memo_[slot] = stack_.back();
  }
  void PushMemo(uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) Fail("memo {} is empty", slot);
    Push(found->second);
  }
  void PushGlobal(const std::string& module, const std::string& name) {
    const std::string global = module + " " + name;
    if (!IsKnownGlobal(global))
      ThrowUserError("{}: its pickle names {}.{}, which a file of tensors does not need; it is refused and was not run", what_, module.substr(0, 100), name.substr(0, 100));
    Node& node = New(Node::kGlobal);
    node.text = global;
    Push(&node);
  }

  void Step(uint8_t opcode) {
    switch (opcode) {
      case 0x80: {  // PROTO
        const auto version = Get<uint8_t>();
        if (version < 2 || version > 5) Fail("protocol {} is not read (2 to 5 are)", version);
        return;
      }
      case 0x95: Take(8); return;  // FRAME
      case '}': return Push(&New(Node::kDict));
      case ']': return Push(&New(Node::kList));
      case ')': return Push(&New(Node::kTuple));
      case '(': return Push(&New(Node::kMark));
      case 'N': return Push(&New(Node::kNone));
      case 0x88: case 0x89: {  // NEWTRUE, NEWFALSE
        Node& node = New(Node::kBool);
        node.integer = opcode == 0x88;
        return Push(&node);
      }
      case 'J': return PushInt(Get<int32_t>());
      case 'K': return PushInt(Get<uint8_t>());
      case 'M': return PushInt(Get<uint16_t>());
      case 0x8a: return PushLong();
      case 'G': Take(8); return Push(&New(Node::kFloat));
      case 'X': return PushText(GetText(Get<uint32_t>()));
      case 0x8c: return PushText(GetText(Get<uint8_t>()));
      case 0x8d: return PushText(GetText(Get<uint64_t>()));
      case 'q': return Memoize(Get<uint8_t>());
      case 'r': return Memoize(Get<uint32_t>());
      case 0x94: return Memoize(memo_.size());
      case 'h': return PushMemo(Get<uint8_t>());
      case 'j': return PushMemo(Get<uint32_t>());
      case 't': return PushTuple(PopToMark());
      case 0x85: case 0x86: case 0x87: {  // TUPLE1 .. TUPLE3
        std::vector<Ref> items(opcode - 0x84u);
        for (size_t i = items.size(); i-- > 0;) items[i] = Pop();
        return PushTuple(std::move(items));
      }
      case 'a': case 'e': {  // APPEND, APPENDS
        const std::vector<Ref> items = opcode == 'a' ? std::vector<Ref>{Pop()} : PopToMark();
        Node& list = Top(Node::kList);
        list.items.insert(list.items.end(), items.begin(), items.end());
        return;
      }
      case 's': case 'u': {  // SETITEM, SETITEMS
        std::vector<Ref> items;
        if (opcode == 's') {
          Ref value = Pop();
          items = {Pop(), value};
        } else {
          items = PopToMark();
        }
        if (items.size() % 2 != 0) Fail("a key without a value");
        Node& dict = Top(Node::kDict);
        dict.items.insert(dict.items.end(), items.begin(), items.end());
        return;
      }
      case 'c': {  // GLOBAL
        const std::string module = GetLine();
        return PushGlobal(module, GetLine());
      }
      case 0x93: {  // STACK_GLOBAL
        Ref name = Expect(Pop(), Node::kString, "a global's name");
        return PushGlobal(Expect(Pop(), Node::kString, "a global's module")->text, name->text);
      }
      case 'Q': return PushStorage(Expect(Pop(), Node::kTuple, "a persistent id"));
      case 'R': {  // REDUCE
        Ref arguments = Expect(Pop(), Node::kTuple, "a call's arguments");
        return Call(Expect(Pop(), Node::kGlobal, "what is called"), *arguments);
      }
      case 'b': {  // BUILD: a state_dict carries {"_metadata": ...}
        Expect(Pop(), Node::kDict, "an object's state");
        Top(Node::kDict);
        return;
      }
      default: Fail("opcode 0x{:02x} has no place in a file of tensors", opcode);
    }
  }

  void PushLong() {
    const auto length = Get<uint8_t>();
    if (length > 8) Fail("an integer of {} bytes", length);
    const auto bytes = Take(length);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size(); ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
    if (length > 0 && length < 8 && (std::to_integer<uint8_t>(bytes.back()) & 0x80) != 0) value |= ~uint64_t{0} << (8 * length);
    PushInt(std::bit_cast<int64_t>(value));
  }

  // ("storage", type, key, location, numel)
  void PushStorage(Ref id) {
    if (id->items.size() != 5) Fail("a storage's id has {} parts, not 5", id->items.size());
    if (Expect(id->items[0], Node::kString, "a storage's id")->text != "storage") Fail("a persistent id that is no storage");
    const NamedType* type = FindType(kStorageTypes, Expect(id->items[1], Node::kGlobal, "a storage's type")->text);
    if (type == nullptr) Fail("{} is no storage type", id->items[1]->text);
    const int64_t numel = Expect(id->items[4], Node::kInt, "a storage's length")->integer;
    Node& node = New(Node::kStorage);
    node.text = Expect(id->items[2], Node::kString, "a storage's key")->text;
    node.dtype = type->dtype;
    if (numel < 0 || __builtin_mul_overflow(numel, static_cast<int64_t>(c10::elementSize(type->dtype)), &node.num_bytes))
      Fail("storage {} has {} elements", node.text, numel);
    Push(&node);
  }

  std::vector<int64_t> GetSizes(Ref tuple, const char* role) const {
    Expect(tuple, Node::kTuple, role);
    if (tuple->items.size() > kMaxDims) Fail("a tensor of {} dimensions", tuple->items.size());
    std::vector<int64_t> sizes;
    for (Ref item : tuple->items) {
      sizes.push_back(Expect(item, Node::kInt, role)->integer);
      if (sizes.back() < 0) Fail("{} holds {}, which is negative", role, sizes.back());
    }
    return sizes;
  }

  void Call(Ref function, const Node& arguments) {
    const std::string& name = function->text;
    const auto& items = arguments.items;
    if (name == "collections OrderedDict") {
      if (!items.empty()) Fail("OrderedDict is called with arguments");
      return Push(&New(Node::kDict));
    }
    if (name == "torch._utils _rebuild_parameter") {  // (data, requires_grad, hooks)
      if (items.size() != 3) Fail("_rebuild_parameter has {} arguments, not 3", items.size());
      return Push(Expect(items[0], Node::kTensor, "a parameter's data"));
    }
    // (storage, offset, size, stride, requires_grad, hooks[, metadata]); v3 has dtype after hooks
    const bool is_v3 = name == "torch._utils _rebuild_tensor_v3";
    if (!is_v3 && name != "torch._utils _rebuild_tensor_v2") Fail("{} is no function", name);
    if (items.size() < (is_v3 ? 7u : 6u)) Fail("{} has {} arguments", name, items.size());
    Ref storage = Expect(items[0], Node::kStorage, "a tensor's storage");
    Node& node = New(Node::kTensor);
    PickledTensor& tensor = node.tensor;
    tensor.storage_key = storage->text;
    tensor.storage_bytes = storage->num_bytes;
    tensor.dtype = storage->dtype;
    if (is_v3) {
      const NamedType* type = FindType(kDtypes, Expect(items[6], Node::kGlobal, "a tensor's dtype")->text);
      if (type == nullptr) Fail("{} is no dtype", items[6]->text);
      tensor.dtype = type->dtype;
    }
    tensor.storage_offset = Expect(items[1], Node::kInt, "a tensor's offset")->integer;
    if (tensor.storage_offset < 0) Fail("a tensor's offset is {}", tensor.storage_offset);
    tensor.shape = GetSizes(items[2], "a tensor's size");
    tensor.strides = GetSizes(items[3], "a tensor's stride");
    if (tensor.shape.size() != tensor.strides.size()) Fail("a tensor with {} sizes and {} strides", tensor.shape.size(), tensor.strides.size());
    Push(&node);
  }

  std::span<const std::byte> pickle_;
  const std::string& what_;
  uint64_t at_ = 0;
  std::deque<Node> arena_;
  std::vector<Ref> stack_;
  std::unordered_map<uint64_t, Ref> memo_;
};

}  // namespace

std::vector<PickledTensor> ReadTensorPickle(std::span<const std::byte> pickle, const std::string& what) {
  Machine machine(pickle, what);
  Ref root = machine.Run();
  FATHOM_USER_CHECK(root->kind == Node::kDict, "{}: holds {}, a dictionary of tensors was expected", what, KindName(root->kind));
  std::vector<PickledTensor> tensors;
  for (size_t i = 0; i < root->items.size(); i += 2) {
    Ref key = root->items[i], value = root->items[i + 1];
    FATHOM_USER_CHECK(key->kind == Node::kString, "{}: a key of its dictionary is {}, not a string", what, KindName(key->kind));
    FATHOM_USER_CHECK(value->kind == Node::kTensor, "{}: {} is {}, not a tensor", what, key->text, KindName(value->kind));
    tensors.push_back(value->tensor);
    tensors.back().name = key->text;
  }
  return tensors;
}

}  // namespace fathom
