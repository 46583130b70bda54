import ArgumentParser
import Capture
import Model
import Platform

/// Which files below the given paths are protected.
struct SelectionOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp("Leave out what matches; may be given several times.", valueName: "pattern"))
    var exclude: [PathArgument] = []

    @Option(help: ArgumentHelp("Leave out what matches a pattern of this file, one a line.", valueName: "file"))
    var excludeFrom: [PathArgument] = []

    @Flag(help: "Leave out the contents of directories with a CACHEDIR.TAG.")
    var excludeCaches = false

    @Option(help: ArgumentHelp("Leave out files larger than this, for example 4GB.", valueName: "size"))
    var excludeLargerThan: SizeArgument?

    @Flag(help: "Stay on the file systems of the given paths.")
    var oneFileSystem = false

    /// What to capture. `own` are directories of this program that are never captured.
    func source(_ paths: [PathArgument], own: [[UInt8]], console: Console) throws -> CaptureSource {
        let roots = try paths.map { try SelectionOptions.root($0) }
        var patterns: [ExclusionPattern] = []
        for file in excludeFrom { patterns += ExclusionPattern.parse(file: try SelectionOptions.read(file)) }
        for pattern in exclude {
            patterns += ExclusionPattern.commandLine(pattern.bytes, roots: roots.map(\.bytes))
        }
        for pattern in patterns {
            if let problem = pattern.problem {
                throw HoldfastError(
                    .usage, "The pattern \"\(TreePath.display(pattern.text))\" makes no sense: \(problem).")
            }
        }
        return CaptureSource(
            roots: roots, oneFileSystem: oneFileSystem, exclusions: ExclusionRules(patterns),
            excludeCaches: excludeCaches, maximumFileSize: excludeLargerThan?.bytes,
            ownDirectories: SelectionOptions.nodes(of: own))
    }

    /// What tells directories of this program apart, wherever they are met.
    static func nodes(of directories: [[UInt8]]) -> Set<CaptureSource.FileNode> {
        var nodes: Set<CaptureSource.FileNode> = []
        for directory in directories {
            let status = try? withCName(directory) { (name) throws(Errno) in try FileSystem.statusFollowing(name) }
            if let status { nodes.insert(.init(device: status.device, inode: status.inode)) }
        }
        return nodes
    }

    /// The absolute path that a person meant, checked to be there: a typing mistake must not look like a backup.
    private static func root(_ path: PathArgument) throws -> TreePath {
        var absolute = path.bytes
        if absolute.first != UInt8(ascii: "/") {
            absolute = try System.workingDirectory() + [UInt8(ascii: "/")] + absolute
        }
        // ".." is resolved as text, as shells do; symbolic links on the way stay what they are.
        var components: [ArraySlice<UInt8>] = []
        for component in absolute.split(separator: UInt8(ascii: "/")) where component != [0x2E] {
            if component == [0x2E, 0x2E] { _ = components.popLast() } else { components.append(component) }
        }
        guard let root = TreePath(normalizing: Array(components.joined(separator: [UInt8(ascii: "/")]))) else {
            throw HoldfastError(.usage, "\(path) cannot be a path: it has a name of more than 255 bytes.")
        }
        do {
            _ = try FileSystem.status([UInt8(ascii: "/")] + root.bytes)
        } catch  where error.isGone {
            throw HoldfastError(
                .notFound, "There is no \(root.displayText).",
                context: ["hint": "Is something not mounted? Nothing was protected."], cause: error)
        } catch {
            throw HoldfastError(
                error.isDenied ? .denied : .io, "\(root.displayText) cannot be looked at: \(error).", cause: error)
        }
        return root
    }

    private static func read(_ file: PathArgument) throws -> [UInt8] {
        do {
            return try DirectoryPath.openFile(file.bytes, [.readOnly, .followLink]).readAll(limit: 16 << 20)
        } catch {
            throw HoldfastError(.notFound, "The file of patterns \(file) cannot be read: \(error).", cause: error)
        }
    }
}

/// A size such as `4GB` or `512MiB`.
struct SizeArgument: ExpressibleByArgument {
    var bytes: UInt64

    init?(argument: String) {
        guard let bytes = Units.parseSize(argument) else { return nil }
        self.bytes = bytes
    }
}
