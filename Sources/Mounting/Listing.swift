import Model
import Platform
import Vault

/// A directory that a program has open.
protocol Listing: AnyObject, Sendable {
    /// Gives the entries from the one with this number on (0 is the first after `.` and `..`) until `body` returns false.
    func read(from number: Int, _ body: (ListedEntry) throws -> Bool) throws
    /// The directory itself, and the one above it.
    var own: Node { get }
    var above: Node { get }
}

/// One entry of a directory.
struct ListedEntry {
    var name: [UInt8]
    var node: Node
    /// What stands in a point; `nil` for what this file system makes up.
    var item: TreeItem?
}

/// Entries that were all known when the directory was opened.
final class FixedListing: Listing {
    let own: Node
    let above: Node
    private let entries: [(name: [UInt8], node: Node)]

    init(own: Node, above: Node, entries: [(name: [UInt8], node: Node)]) {
        self.own = own
        self.above = above
        self.entries = entries
    }

    func read(from number: Int, _ body: (ListedEntry) throws -> Bool) throws {
        guard number < entries.count else { return }
        for entry in entries[number...] {
            guard try body(ListedEntry(name: entry.name, node: entry.node, item: nil)) else { return }
        }
    }
}

/// A directory in a point, read in parts: memory does not depend on how many entries it has.
final class TreeListing: Listing {
    private struct State {
        /// The part that was read last, and the number of its first entry.
        var items: [TreeItem] = []
        var first = 0
        /// The last name before each part that was reached.
        var starts: [[UInt8]?] = [nil]
    }

    /// Entries of one part.
    private static let part = 1_024

    let point: OpenPoint
    let path: TreePath
    private let state = Monitor(State())

    init(_ point: OpenPoint, _ path: TreePath) {
        self.point = point
        self.path = path
    }

    var own: Node { .entry(point.place, path) }
    var above: Node { path.parent.map { .entry(point.place, $0) } ?? .machine(point.place.machine) }

    func read(from number: Int, _ body: (ListedEntry) throws -> Bool) throws {
        point.touch()
        var number = number
        while true {
            let items = try part(of: number)
            if items.isEmpty { return }
            for item in items {
                // What a hostile writer called by no name at all cannot be named here either.
                if TreePath.isName(item.name) {
                    let name = Array(item.name)
                    let node = Node.entry(point.place, path.appending(name))
                    guard try body(ListedEntry(name: name, node: node, item: item)) else { return }
                }
                number += 1
            }
        }
    }

    /// The entries from `number` on to the end of its part.
    private func part(of number: Int) throws -> ArraySlice<TreeItem> {
        try state.withLock { state in
            let wanted = number / Self.part
            if state.first != wanted * Self.part || state.items.isEmpty {
                // The kernel goes on where it was, or begins anew; nobody can know the name at a place in between.
                while state.starts.count <= wanted {
                    let last = state.starts.count - 1
                    let items = try load(last, &state)
                    guard items.count == Self.part else { return [] }
                }
                _ = try load(wanted, &state)
            }
            let index = number - state.first
            return index < state.items.count ? state.items[index...] : []
        }
    }

    private func load(_ part: Int, _ state: inout State) throws -> [TreeItem] {
        let start = state.starts[part]
        let items = try point.withTree { try $0.list(path, after: start, limit: Self.part) }
        state.items = items
        state.first = part * Self.part
        if items.count == Self.part, state.starts.count == part + 1, let last = items.last {
            state.starts.append(Array(last.name))
        }
        return items
    }
}
