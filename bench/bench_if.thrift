// What the benchmarks call. The generated code in gen-py is written anew with
//   thrift --gen py -out gen-py bench_if.thrift
namespace py bench_if

struct Item {
  1: i32 id,
  2: string name,
}

struct Record {
  1: i64 id,
  2: string name,
  3: double price,
  4: bool sold,
  5: i32 count,
}

service bench_service {
  string getk(1: string key),
  list<string> keys(),
  binary blob(1: i32 size),
  list<Item> items(1: i32 count),
  list<Record> records(1: i32 count),
  list<i64> numbers(1: i32 count),
}
