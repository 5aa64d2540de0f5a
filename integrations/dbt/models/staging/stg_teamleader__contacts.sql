-- With one e-mail address and telephone number of the lists that a contact has: the first, a telephone before a mobile.
with emails as (
    select distinct on (account, contact_id) account, contact_id, email
    from {{ source('teamleader', 'contact_emails') }}
    where type = 'primary'
    order by account, contact_id, position
),

telephones as (
    select distinct on (account, contact_id) account, contact_id, number as telephone
    from {{ source('teamleader', 'contact_telephones') }}
    where type in ('phone', 'mobile')
    order by account, contact_id, type = 'mobile', position
)

select
    contacts.*,
    nullif(concat_ws(' ', contacts.first_name, contacts.last_name), '') as name,
    emails.email,
    telephones.telephone
from {{ source('teamleader', 'contacts') }} as contacts
left join emails on emails.account = contacts.account and emails.contact_id = contacts.id
left join telephones on telephones.account = contacts.account and telephones.contact_id = contacts.id
