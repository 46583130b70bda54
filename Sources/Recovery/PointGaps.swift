import Model
import Vault

/// What the backup could not read: a restore brings back less than was there, and has to say so.
enum PointGaps {
    /// Writes down what is missing below the paths that are restored. Files without content say so themselves when they
    /// are met; here it is about directories that could not be listed and names that could not be looked at.
    ///
    /// - Returns: the directories among them, in the point.
    static func report(_ reader: PointReader, _ paths: [TreePath], _ log: RestoreLog) -> Set<[UInt8]> {
        var directories: Set<[UInt8]> = []
        if reader.locator.isPartial {
            log.add(
                .incomplete, [],
                "the backup was not finished when this point was made: what it had not come to yet is missing")
        }
        for warning in reader.record.warnings {
            guard let path = TreePath(normalizing: warning.path), paths.contains(where: { $0.contains(path) }) else {
                continue
            }
            guard let entry = try? reader.tree.lookup(path) else {
                if warning.reason == .denied || warning.reason == .io {
                    log.add(.incomplete, path.bytes, "it could not be read when the point was made: \(warning.text)")
                }
                continue
            }
            guard entry.kind == .directory, [.denied, .io, .vanished].contains(warning.reason) else { continue }
            directories.insert(path.bytes)
            log.add(
                .incomplete, path.bytes,
                "\(words): \(warning.text)")
        }
        if reader.record.furtherWarnings > 0 {
            log.add(
                .incomplete, [],
                "the backup had trouble with \(reader.record.furtherWarnings) more paths than the point lists; some of "
                    + "them may be missing here")
        }
        return directories
    }

    /// For a directory that is said to be incomplete by itself alone.
    static let words = "not all that was in it could be read when the point was made"

}
