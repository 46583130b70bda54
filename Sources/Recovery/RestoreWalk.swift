import Model
import Platform
import Vault

/// Who acts on what a `RestoreWalk` comes by: one plans, another carries out.
protocol RestoreWalkHandler: AnyObject {
    /// The destination itself.
    func start(_ entry: Entry?, role: PathSelection.Role) throws -> RestoreDirectory
    /// A directory whose names come next; `nil` to leave out everything below it.
    func enter(
        _ name: [UInt8], _ entry: Entry, role: PathSelection.Role, in parent: RestoreDirectory
    ) throws -> RestoreDirectory?
    /// A name that is not a directory.
    func visit(_ name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory) throws
    /// A name of the destination that the point does not have, in a directory that is to be exactly what it was.
    func extra(_ name: TerminatedName, in directory: RestoreDirectory) throws
    /// No more names of the directory will come.
    func leave(_ directory: RestoreDirectory) throws
    /// Something is wrong with the tree, or a path is not there.
    func problem(_ kind: RestoreIssue.Kind, _ path: [UInt8], _ text: String) throws
}

/// Turns the order of the tree's keys into entering and leaving directories: all names of a directory come first, then
/// what is below each of its directories. Holds one frame for each level and the directories of each that wait.
final class RestoreWalk {
    private struct Child {
        let name: [UInt8]
        let entry: Entry
        let role: PathSelection.Role
    }

    private struct Frame {
        /// The key of the directory with its components ended by zeros; empty for the root.
        let prefix: [UInt8]
        /// `nil`: left out, with everything below.
        let directory: RestoreDirectory?
        var children: [Child] = []
        var next = 0
        /// Names of the destination that the point may not have.
        var present: PresentNames?
    }

    /// The names that stand in a directory of the destination, sorted, and how far they were compared.
    private final class PresentNames {
        var names = NameList()
        var next = 0
    }

    /// Directories above the current one whose descriptors stay open.
    private static let openAncestors = 64

    private let reader: PointReader
    private let selection: PathSelection
    private let handler: any RestoreWalkHandler
    private var stack: [Frame] = []
    private var listing = DirectoryReader()
    private var orphan: [UInt8]?

    init(reader: PointReader, selection: PathSelection, handler: any RestoreWalkHandler) {
        self.reader = reader
        self.selection = selection
        self.handler = handler
    }

    func run() throws {
        try selection.forEach(in: reader.tree) { path in
            try handler.problem(.incomplete, path.bytes, "it is not in this point")
        } _: { item, role in
            try take(item, role)
        }
        try begin(nil, role: .passage)
        while let top = stack.popLast() { try end(top) }
    }

    private func begin(_ entry: Entry?, role: PathSelection.Role) throws {
        if !stack.isEmpty { return }
        let root = try handler.start(entry, role: role)
        stack.append(try frame(prefix: [], directory: root))
    }

    private func take(_ item: TreeItem, _ role: PathSelection.Role) throws {
        let key = item.key
        if key.isEmpty {
            let entry = try item.entry()
            guard entry.kind == .directory else {
                throw HoldfastError(.damaged, "the root of this point's tree is not a directory")
            }
            return try begin(entry, role: role)
        }
        // A tree without an entry for its root still has one.
        try begin(nil, role: .passage)
        guard let last = key.lastIndex(of: 0), last + 1 < key.count, TreePath.isName(key[(last + 1)...]) else {
            return try handler.problem(.damaged, key, "the tree has an impossible path")
        }
        // Without the separator that stands before the name.
        let prefix = key[..<last]
        if orphan.map({ prefix.starts(with: $0) }) == true { return }
        guard try moveTo(prefix) else {
            orphan = Array(prefix)
            let path = prefix.split(separator: 0).joined(separator: [UInt8(ascii: "/")])
            return try handler.problem(
                .damaged, Array(path), "the tree has no directory of this name above its contents")
        }
        let index = stack.count - 1
        guard let directory = stack[index].directory else { return }
        let entry = try item.entry()
        if stack[index].present != nil { try passExtras(of: index, before: key[(last + 1)...]) }
        if entry.kind == .directory {
            stack[index].children.append(Child(name: Array(key[(last + 1)...]), entry: entry, role: role))
        } else if role == .chosen {
            try handler.visit(TerminatedName(key[(last + 1)...]), entry, in: directory)
        }
    }

    /// Makes the directory with this prefix the current one; false when the tree never named it.
    private func moveTo(_ prefix: ArraySlice<UInt8>) throws -> Bool {
        while let top = stack.last {
            if prefix.elementsEqual(top.prefix) { return true }
            if prefix.starts(with: top.prefix) { break }
            stack.removeLast()
            try end(top)
        }
        guard let top = stack.last else { return false }
        // Everything below what was left out is left out.
        if top.directory == nil { return true }
        let rest = prefix[(prefix.startIndex + top.prefix.count)...].dropLast()
        guard !rest.isEmpty, !rest.contains(0) else { return false }
        let index = stack.count - 1
        try listed(index)
        while stack[index].next < stack[index].children.count {
            let child = stack[index].children[stack[index].next]
            let isWanted = rest.elementsEqual(child.name)
            if !isWanted, !child.name.lexicographicallyPrecedes(rest) { return false }
            stack[index].next += 1
            if isWanted {
                let directory = try stack[index].directory.flatMap {
                    try handler.enter(child.name, child.entry, role: child.role, in: $0)
                }
                stack.append(try frame(prefix: Array(prefix), directory: directory))
                if stack.count > RestoreWalk.openAncestors {
                    stack[stack.count - RestoreWalk.openAncestors].directory?.dropHandle()
                }
                return true
            }
            try passEmpty(child, in: stack[index].directory)
        }
        return false
    }

    private func frame(prefix: [UInt8], directory: RestoreDirectory?) throws -> Frame {
        var frame = Frame(prefix: prefix, directory: directory)
        guard let directory, directory.removesExtra, !directory.isNew, !directory.isMissing else { return frame }
        let present = PresentNames()
        do throws(Errno) {
            let handle = try directory.handle()
            // A descriptor of its own: the position of the shared one stays where it is.
            let own = try FileDescriptor.open(at: handle.raw, ".", [.readOnly, .directory])
            try present.names.read(own.raw, with: &listing)
            frame.present = present
        } catch {
            try handler.problem(.failed, directory.source, "it cannot be listed: \(error)")
        }
        return frame
    }

    /// A directory that nothing is below of.
    private func passEmpty(_ child: Child, in directory: RestoreDirectory?) throws {
        guard let directory else { return }
        let entered = try handler.enter(child.name, child.entry, role: child.role, in: directory)
        let frame = try frame(prefix: [], directory: entered)
        stack.append(frame)
        try listed(stack.count - 1)
        stack.removeLast()
        if let entered { try handler.leave(entered) }
    }

    /// All names of the point for this directory have come.
    private func listed(_ index: Int) throws {
        if stack[index].present == nil { return }
        try passExtras(of: index, before: nil)
        stack[index].present = nil
    }

    /// What stands in the destination before a name of the point is not in the point.
    private func passExtras(of index: Int, before name: ArraySlice<UInt8>?) throws {
        guard let present = stack[index].present, let directory = stack[index].directory else { return }
        while present.next < present.names.count {
            let standing = present.names.name(present.next)
            if let name {
                if standing.elementsEqual(name) {
                    present.next += 1
                    return
                }
                if !standing.lexicographicallyPrecedes(name) { return }
            }
            present.next += 1
            try handler.extra(TerminatedName(standing), in: directory)
        }
    }

    private func end(_ frame: Frame) throws {
        var frame = frame
        stack.append(frame)
        try listed(stack.count - 1)
        frame = stack.removeLast()
        while frame.next < frame.children.count {
            let child = frame.children[frame.next]
            frame.next += 1
            try passEmpty(child, in: frame.directory)
        }
        if let directory = frame.directory { try handler.leave(directory) }
    }
}
