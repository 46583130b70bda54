import Model
import Testing

@testable import Vault

@Suite("Trees") struct TreeTests {
    @Test("a tree gives back what was put into it", arguments: [0, 1, 2, 50, 3000])
    func roundTrip(count: Int) throws {
        let seed = UInt64(count) + 17
        print("seed", seed)
        var fixture = TreeFixture(seed: seed)
        let entries = fixture.tree(count)
        let nodes = MemoryNodes()
        let summary = try entries.build(nodes)
        #expect(summary.entries == UInt64(count))
        let reader = TreeReader(source: nodes, root: summary.root)
        #expect(try reader.all() == entries)
        for key in entries.keys { #expect(try reader.find(key)?.entry() == entries[key]) }
        for _ in 0..<500 {
            let path = fixture.path(near: entries)
            #expect(try reader.lookup(path) == entries[path.key])
        }
    }
}
