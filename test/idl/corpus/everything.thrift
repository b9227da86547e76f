/* Each construct of the language that other files of the corpus don't have. */
namespace cpp corpus
namespace py corpus.everything (author = "nobody", version = "1")
namespace * corpus.all
namespace smalltalk.prefix Corp
cpp_include "<vector>"

/** A number that people have. */
typedef i64 UserId (cpp.type = "user")

/**
 * The numbers.
 */
enum Numberz
{
  ONE = 1,
  TWO,
  THREE,
  FIVE = 5,
  SIX,
  EIGHT = 8 (deprecated = "yes")
} (kind = "numbers")

const Numberz myNumberz = Numberz.ONE;

struct Bonk { 1: string message, 2: i32 type }
struct Bools { 1: bool im_true, 2: bool im_false, }

/** Several types. */
struct Xtruct {
  1:  string string_thing,
  4:  i8     byte_thing,
  9:  i32    i32_thing,
  11: i64    i64_thing
}

struct Xtruct2 { 1: i8 byte_thing, 2: Xtruct struct_thing, 3: i32 i32_thing }
struct Xtruct3 { 1: string string_thing, 4: i32 changed, 9: i32 i32_thing, 11: i64 i64_thing }

struct Insanity {
  1: map<Numberz, UserId> userMap,
  2: list<Xtruct> xtructs
} (python.immutable = "")

struct CrazyNesting {
  1: string string_field,
  2: optional set<Insanity> set_field,
  3: required list<map<set<i32> (python.immutable = ""), map<i32, set<list<map<Insanity, string>(python.immutable = "")> (python.immutable = "")>>>> list_field,
  4: binary binary_field
}

union SomeUnion { 1: map<Numberz, UserId> map_thing, 2: string string_thing, 3: i32 i32_thing, 4: Xtruct3 xtruct_thing, 5: Insanity insanity_thing }

exception Xception { 1: i32 errorCode, 2: string message }
exception Xception2 { 1: i32 errorCode, 2: Xtruct struct_thing }
exception Loose { 1: i32 code } (python.immutable = "false")

struct EmptyStruct {}
struct OneField { 1: EmptyStruct field }

struct VersioningTestV1 { 1: i32 begin_in_both, 3: string old_string, 12: i32 end_in_both }
struct VersioningTestV2 {
  1: i32 begin_in_both,
  2: i32 newint, 3: i8 newbyte, 4: i16 newshort, 5: i64 newlong, 6: double newdouble
  7: Bonk newstruct, 8: list<i32> newlist, 9: set<i32> newset, 10: map<i32, i32> newmap, 11: string newstring,
  12: i32 end_in_both
}

struct GuessProtocolStruct { 7: map<string, string> map_field }
struct LargeDeltas { 1: Bools b1, 10: Bools b10, 100: Bools b100, 500: bool check_true, 1000: Bools b1000, 1500: bool check_false, 2000: VersioningTestV2 vertwo2000, 32767: i32 last }
struct NestedMixedx2 { 1: list<set<i32>> int_set_list, 2: map<i32, set<string>> map_int_strset, 3: list<map<i32, set<string>>> map_int_strset_list }
struct ListBonks { 1: list<Bonk> bonk }
struct NestedListsBonk { 1: list<list<list<Bonk>>> bonk }
struct BoolTest { 1: optional bool b = true; 2: optional string s = "true"; }
struct StructB { 1: optional StructA aa; 2: required StructA ab; }
struct StructA { 1: required string s; }
struct OptionalSetDefaultTest { 1: optional set<string> with_default = ["test"] }
struct OptionalBinary { 1: optional set<binary> bin_set = [], 2: optional map<binary, i32> bin_map = {} }

struct Tree { 1: string label, 2: list<Tree> children, 3: map<string, Tree> named, 4: optional Tree & left }
struct Backwards { 3: string third, 1: string first, 2: Numberz second }
struct Nearly { 1: string next, 2: i32 end, 3: bool args, 4: double read, 5: string write, 6: string type, 7: string match, 8: string validate }

service ThriftTest {
  void testVoid(),
  string testString(1: string thing),
  bool testBool(1: bool thing),
  i8 testByte(1: byte thing),
  i32 testI32(1: i32 thing),
  i64 testI64(1: i64 thing),
  double testDouble(1: double thing),
  binary testBinary(1: binary thing),
  Xtruct testStruct(1: Xtruct thing),
  Xtruct2 testNest(1: Xtruct2 thing),
  map<i32, i32> testMap(1: map<i32, i32> thing),
  map<string, string> testStringMap(1: map<string, string> thing),
  set<i32> testSet(1: set<i32> thing),
  list<i32> testList(1: list<i32> thing),
  Numberz testEnum(1: Numberz thing),
  UserId testTypedef(1: UserId thing),
  map<i32, map<i32, i32>> testMapMap(1: i32 hello),
  map<UserId, map<Numberz, Insanity>> testInsanity(1: Insanity argument),
  Xtruct testMulti(1: i8 arg0, 2: i32 arg1, 3: i64 arg2, 4: map<i16, string> arg3, 5: Numberz arg4, 6: UserId arg5),
  void testException(1: string arg) throws (1: Xception err1),
  Xtruct testMultiException(1: string arg0, 2: string arg1) throws (1: Xception err1, 2: Xception2 err2)
  oneway void testOneway(1: i32 secondsToSleep)
  list<Numberz> testEnums(1: list<Numberz> some, 2: map<Numberz, set<Numberz>> more) throws (1: Loose loose)
} (a.b = "c")

service SecondService extends ThriftTest {
  /**
   * Prints 'testString("%s")' with thing as '%s'
   */
  string secondtestString(1: string thing = "thing"),
}
