//! What a client is shown that it may do: `own_capabilities`.
//!
//! The names are the documented ones; each stands for a grant, a setting of the channel, or both.

use super::{Action, ChannelAccess};

impl ChannelAccess {
    /// In alphabetical order. Empty for a caller without a user.
    pub fn capabilities(&self) -> Vec<&'static str> {
        let Some(user) = self.user_id() else {
            return Vec::new();
        };
        let config = &self.channel.config;
        let may = |action| self.allows(action);
        let own = |action| self.allows_with_thing_of(action, user);
        let cooldown = self.channel.row.cooldown > 0;
        let open = !self.channel.row.frozen || may(Action::UseFrozenChannel);
        let (sends, reacts) = (open && may(Action::CreateMessage), open && may(Action::CreateReaction));
        let all = [
            ("ban-channel-members", may(Action::BanChannelMember)),
            ("connect-events", config.connect_events),
            ("create-attachment", may(Action::CreateAttachment)),
            ("create-mention", may(Action::CreateMention)),
            ("delete-any-message", self.allows_with_thing_of(Action::DeleteMessage, "")),
            ("delete-channel", may(Action::DeleteChannel)),
            ("delete-own-message", own(Action::DeleteMessage)),
            ("delivery-events", config.delivery_events),
            ("flag-message", may(Action::FlagMessage)),
            ("freeze-channel", may(Action::UpdateChannelFrozen)),
            ("join-channel", may(Action::AddOwnChannelMembership)),
            ("leave-channel", self.membership.is_some() && may(Action::RemoveOwnChannelMembership)),
            ("mute-channel", config.mutes && may(Action::MuteChannel)),
            ("pin-message", may(Action::PinMessage)),
            ("quote-message", config.quotes && sends),
            ("read-events", config.read_events),
            ("search-messages", config.search && may(Action::ReadChannel)),
            ("send-custom-events", config.custom_events && may(Action::SendCustomEvent)),
            ("send-links", may(Action::AddLinks)),
            ("send-message", sends),
            ("send-reaction", config.reactions && reacts),
            ("send-reply", config.replies && sends),
            ("send-typing-events", config.typing_events),
            ("set-channel-cooldown", may(Action::UpdateChannelCooldown)),
            ("skip-slow-mode", may(Action::SkipChannelCooldown)),
            ("slow-mode", cooldown && !may(Action::SkipChannelCooldown)),
            ("typing-events", config.typing_events),
            ("update-any-message", self.allows_with_thing_of(Action::UpdateMessage, "")),
            ("update-channel", may(Action::UpdateChannel)),
            ("update-channel-members", may(Action::UpdateChannelMembers)),
            ("update-own-message", own(Action::UpdateMessage)),
            ("upload-file", config.uploads && may(Action::UploadAttachment)),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
}
