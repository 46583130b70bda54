import Model
import Platform

/// Says what an event means for what is protected.
struct EventTranslator {
    typealias Seen = DirectoryResolver.Seen

    let scope: WatchScope
    /// A directory can come into being with contents: snapshots of btrfs.
    let directoriesComeFilled: Bool

    /// What a name in a directory is to what is protected.
    private enum Target {
        case nothing
        case path(TreePath)
        /// It leads to these roots.
        case above(TreePath, [TreePath])
    }

    /// Takes an event about one name; `name` is `.` or empty for the directory itself.
    func translate(_ mask: FanotifyMask, _ seen: [Seen], _ name: UnsafeRawBufferPointer, into facts: inout FactBatch) {
        let isDirectory = mask.contains(.directory)
        for place in seen {
            if place.isTruncated {
                facts.add(.subtree(place.path))
                continue
            }
            if isDirectoryItself(name) {
                facts.add(place.isOverlay ? .subtree(place.path) : .file(place.path, .metadata))
                continue
            }
            switch target(place, name, isDirectory: isDirectory) {
            case .nothing: break
            case .above(let path, let roots):
                if mask.isDisjoint(with: [.created, .deleted, .movedFrom, .movedTo]) {
                    facts.add(.file(path, .metadata))
                } else {
                    for root in roots { facts.add(.subtree(root)) }
                }
            case .path(let path): changed(mask, path, place, name, isDirectory: isDirectory, into: &facts)
            }
        }
    }

    private func changed(
        _ mask: FanotifyMask, _ path: TreePath, _ place: Seen, _ name: UnsafeRawBufferPointer, isDirectory: Bool,
        into facts: inout FactBatch
    ) {
        // The kernel joins events; their order is lost. That something is there now is the safer guess: whoever looks
        // finds out.
        if !mask.isDisjoint(with: [.deleted, .movedFrom]) {
            facts.add(
                .entry(directory: place.path, name: Array(name), isDirectory ? .directoryDeleted : .deleted))
        }
        if isDirectory {
            let isFilled =
                mask.contains(.movedTo) || (mask.contains(.created) && (directoriesComeFilled || place.isOverlay))
                || (mask.contains(.attributes) && place.isOverlay)
            if isFilled {
                facts.add(.subtree(path))
                return
            }
        }
        if !mask.isDisjoint(with: [.created, .movedTo]) {
            facts.add(.entry(directory: place.path, name: Array(name), .created))
        }
        if mask.contains(.closedAfterWriting) {
            facts.add(.file(path, .closed))
        } else if mask.contains(.modified) {
            facts.add(.file(path, .open))
        } else if mask.contains(.attributes) {
            facts.add(.file(path, .metadata))
        }
    }

    /// Takes a rename. A directory that is gone counts as outside: the event of its own removal comes.
    func translateRename(
        isDirectory: Bool, from: [Seen], _ oldName: UnsafeRawBufferPointer, to: [Seen],
        _ newName: UnsafeRawBufferPointer, into facts: inout FactBatch
    ) {
        for place in from + to where place.isTruncated { facts.add(.subtree(place.path)) }
        for place in Set((from + to).map(\.place)).sorted() {
            let old = from.first { $0.place == place && !$0.isTruncated }
            let new = to.first { $0.place == place && !$0.isTruncated }
            let before = old.map { target($0, oldName, isDirectory: isDirectory) } ?? .nothing
            let after = new.map { target($0, newName, isDirectory: isDirectory) } ?? .nothing
            if case .path(let source) = before, case .path(let path) = after {
                facts.add(.renamed(from: source, to: path, isDirectory: isDirectory))
                continue
            }
            switch before {
            case .nothing: break
            case .path:
                facts.add(
                    .entry(
                        directory: old?.path ?? .root, name: Array(oldName),
                        isDirectory ? .directoryDeleted : .deleted))
            case .above(_, let roots): for root in roots { facts.add(.subtree(root)) }
            }
            switch after {
            case .nothing: break
            case .path(let path):
                if isDirectory {
                    facts.add(.subtree(path))
                } else {
                    facts.add(.entry(directory: new?.path ?? .root, name: Array(newName), .created))
                    facts.add(.file(path, .closed))
                }
            case .above(_, let roots): for root in roots { facts.add(.subtree(root)) }
            }
        }
    }

    private func isDirectoryItself(_ name: UnsafeRawBufferPointer) -> Bool {
        name.isEmpty || (name.count == 1 && name[0] == UInt8(ascii: "."))
    }

    private func target(_ place: Seen, _ name: UnsafeRawBufferPointer, isDirectory: Bool) -> Target {
        let path = place.path.appending(name)
        if place.standing == .inside {
            return scope.includes(path, nameOffset: path.bytes.count - name.count, isDirectory: isDirectory)
                ? .path(path) : .nothing
        }
        if scope.roots.contains(path) { return .path(path) }
        let roots = scope.roots(below: path)
        return roots.isEmpty ? .nothing : .above(path, roots)
    }
}
