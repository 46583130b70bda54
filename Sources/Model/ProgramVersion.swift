/// The version of all that is built from these sources: the program, what it says of itself as a server and as an agent, and
/// its packages.
package enum ProgramVersion {
    /// Without the revision that a package adds.
    package static let current = "0.1.0"
}
