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

    @Option(
        help: ArgumentHelp(
            "Leave out what matches a pattern of this file, one a line, as of a .gitignore in each path.",
            valueName: "file"))
    var excludeFrom: [PathArgument] = []

    @Flag(help: "Leave out the contents of directories with a CACHEDIR.TAG.")
    var excludeCaches = false

    @Option(help: ArgumentHelp("Leave out files larger than this, for example 4GB.", valueName: "size"))
    var excludeLargerThan: SizeArgument?

    @Flag(help: "Stay on the file systems of the given paths.")
    var oneFileSystem = false

    /// Whether any of them was given.
    var isGiven: Bool {
        !exclude.isEmpty || !excludeFrom.isEmpty || excludeCaches || excludeLargerThan != nil || oneFileSystem
    }

    /// What to capture. `own` are directories of this program that are never captured.
    func source(_ paths: [PathArgument], own: [[UInt8]], console: Console) throws -> CaptureSource {
        let roots = try SelectionOptions.roots(paths, console)
        let names = roots.map(\.bytes)
        var patterns: [ExclusionPattern] = []
        for file in excludeFrom {
            patterns += ExclusionPattern.exclusionFile(try SelectionOptions.read(file), roots: names)
        }
        for pattern in exclude { patterns += ExclusionPattern.commandLine(pattern.bytes, roots: names) }
        for pattern in patterns {
            if let problem = pattern.problem {
                throw HoldfastError(
                    .usage, "The pattern \"\(TreePath.display(pattern.text))\" makes no sense: \(problem).")
            }
        }
        let rules = ExclusionRules(patterns)
        for root in roots {
            guard let pattern = rules.pattern(matchingRoot: root.bytes) else { continue }
            console.warn(
                "The pattern \"\(TreePath.display(pattern.text))\" matches \(root.displayText) itself, which is protected "
                    + "because it was named.")
        }
        return CaptureSource(
            roots: roots, oneFileSystem: oneFileSystem, exclusions: rules,
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

    /// The paths that were meant, checked to be there: a typing mistake must not look like a backup. Says where the tree
    /// will know them by another name.
    private static func roots(_ paths: [PathArgument], _ console: Console) throws -> [TreePath] {
        var roots: [TreePath] = []
        var links: [(link: TreePath, target: TreePath)] = []
        for path in paths {
            let found = try ResolvedPath(path)
            roots.append(found.path)
            if found.path.bytes != found.asTyped {
                console.note("/\(TreePath.display(found.asTyped)) is \(found.path.displayText).")
            }
            if let target = found.target { links.append((found.path, target)) }
        }
        for (link, target) in links where !roots.contains(where: { $0.contains(target) }) {
            console.warn(
                "\(link.displayText) is a symbolic link to \(target.displayText): the link is protected, and not what it "
                    + "leads to. Write \(link.displayText)/ for that.")
        }
        return roots
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
